// The page: what it shows is a pure function of the address (#seed, view, to, variety).

import { LARGEST_SEED, SEED_BITS, latent, parseSeed, slerp } from "./latents.js";

const FRAMES = 24; // of a morph, there; the way back shows them again
const FRAMES_A_SECOND = 15;
const CATS_ON_A_SHEET = 16;
const LARGEST_RANDOM_SEED = 1_000_000; // short enough to say to a friend
const ADDRESS_PAUSE = 400; // ms between changes of the address; Safari rejects more than 100 in 30 s

const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const worker = new Worker("worker.js", { type: "module" });

let facts = null;
let ready = false; // the generator; until then the controls are off
let state = { view: "cat", seed: 7n, to: 8n, variety: 100 };
let job = 0;
let asked = 0; // when the job was given
let frames = []; // what has been drawn of it
let wanted = 0; // how many pictures it has
let saving = false; // as soon as all of them are drawn
let playing = !calm.matches;
let beat = 0; // of the morph: which frame, there and back
let address = { timer: 0, written: -Infinity, keep: false };

start();

async function start() {
  try {
    const response = await fetch("generator.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(`generator.json cannot be fetched (${response.status})`);
    facts = await response.json();
  } catch (error) {
    fail(error.message);
    return;
  }
  $("terms").textContent =
    `Drawn by ${facts.name}. Trained on ${facts.data}; credit: ${facts.credit}; ` +
    `license: ${facts.license}. ${facts.began && `It began as ${facts.began}. `}` +
    `Made with catgan ${facts.catgan}.`;
  for (const canvas of [$("cat"), ...sheetCanvases()]) {
    canvas.width = canvas.height = facts.resolution;
  }
  worker.postMessage({ start: facts });
}

worker.onerror = () => fail("this browser cannot run the generator");
worker.onmessage = ({ data }) => {
  if (data.failed) fail(data.failed);
  else if (data.loaded) showLoading(data.loaded);
  else if (data.ready) begin(data.server);
  else if (data.job === job) show(data.index, data.pixels);
};

function begin(onServer) {
  ready = true;
  if (onServer) $("about").textContent = "Drawn on the server, by a network that has seen many.";
  $("loading").hidden = true;
  $("controls").disabled = false;
  readAddress();
  addEventListener("hashchange", readAddress);
  setInterval(step, 1000 / FRAMES_A_SECOND);
}

function showLoading(bytes) {
  const total = facts.model.bytes + (facts.runtime?.bytes ?? 0);
  $("progress").value = Math.min(1, bytes / total);
  const megabytes = (number) => (number / 1e6).toFixed(1);
  $("loading-text").textContent =
    bytes < total
      ? `Fetching the generator: ${megabytes(bytes)} of ${megabytes(total)} MB`
      : "Starting the generator";
}

function fail(reason) {
  worker.terminate();
  worker.onmessage = null; // what is under way would be shown over the reason
  ready = false;
  $("controls").disabled = true;
  $("status").textContent = "";
  $("loading").hidden = false;
  $("progress").hidden = true;
  $("loading-text").textContent = `No cat: ${reason}`;
}

// -- the address ----------------------------------------------------------------------------------

function readAddress() {
  clearTimeout(address.timer);
  const given = new URLSearchParams(location.hash.slice(1));
  const views = ["cat", "morph", "sheet"];
  const variety = Number(given.get("variety") ?? 100);
  const seed = parseSeed(given.get("seed") ?? "") ?? 7n;
  state = {
    view: views.includes(given.get("view")) ? given.get("view") : "cat",
    seed,
    to: another(seed, parseSeed(given.get("to") ?? "")),
    variety: variety >= 0 && variety <= 100 ? Math.round(variety) : 100,
  };
  render();
}

/** Change what is shown; the address follows, and with `keep` so does the way back. */
function go(change, keep = true) {
  if (!ready) return;
  state = { ...state, ...change };
  address.keep ||= keep;
  clearTimeout(address.timer);
  const pause = address.written + ADDRESS_PAUSE - performance.now();
  if (pause > 0) address.timer = setTimeout(writeAddress, pause);
  else writeAddress();
  render();
}

function writeAddress() {
  clearTimeout(address.timer);
  const words = new URLSearchParams({ seed: state.seed });
  if (state.view !== "cat") words.set("view", state.view);
  if (state.view === "morph") words.set("to", state.to);
  if (state.variety !== 100) words.set("variety", state.variety);
  if (location.hash !== `#${words}`) {
    history[address.keep ? "pushState" : "replaceState"](null, "", `#${words}`);
  }
  address = { timer: 0, written: performance.now(), keep: false };
}

/** The seed so many further on; after the largest comes 0. */
function shifted(seed, by) {
  return BigInt.asUintN(SEED_BITS, seed + by);
}

/** `seed`, or if there is none or it is `than` itself, the one after `than`. */
function another(than, seed) {
  return seed === null || seed === than ? shifted(than, 1n) : seed;
}

function randomSeed() {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0] % LARGEST_RANDOM_SEED);
}

// -- drawing --------------------------------------------------------------------------------------

function render() {
  const { view, seed, to, variety } = state;
  document.querySelector(`input[name="view"][value="${view}"]`).checked = true;
  $("seed").value = seed;
  $("seed").removeAttribute("aria-invalid");
  $("variety").value = variety;
  $("variety-value").textContent = `${variety} %`;
  $("new").textContent = { cat: "New cat", morph: "New cats", sheet: "New sheet" }[view];
  $("cat").hidden = view === "sheet";
  $("sheet").hidden = view !== "sheet";
  $("between").hidden = view !== "morph";
  $("ends").textContent = `${seed} and ${to}`;
  $("play").textContent = playing ? "Pause" : "Play";
  document.title = view === "sheet" ? "Cats that do not exist" : `Cat ${seed} does not exist`;
  if (ready) request();
}

function request() {
  const size = facts.latent_size;
  const { view, seed, to } = state;
  let latents = [latent(seed, size)];
  if (view === "morph") {
    const [a, b] = [latents[0], latent(to, size)];
    latents = Array.from({ length: FRAMES }, (_, i) => slerp(a, b, i / (FRAMES - 1)));
  } else if (view === "sheet") {
    latents = sheetSeeds().map((each) => latent(each, size));
  }
  frames = [];
  wanted = latents.length;
  saving = false;
  $("status").setAttribute("aria-busy", true); // the end is read out, not each picture
  if (view !== "cat") $("status").textContent = "Drawing";
  for (const canvas of sheetCanvases()) canvas.className = "stale";
  job += 1;
  asked = performance.now();
  worker.postMessage({ job, latents, truncation: state.variety / 100 });
}

function show(index, pixels) {
  const rgba = new ImageData(facts.resolution, facts.resolution);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    rgba.data[to] = pixels[from];
    rgba.data[to + 1] = pixels[from + 1];
    rgba.data[to + 2] = pixels[from + 2];
    rgba.data[to + 3] = 255;
  }
  frames[index] = rgba;
  const done = index + 1 === wanted; // they come in order
  const { view, seed, to } = state;
  const seconds = ((performance.now() - asked) / 1000).toFixed(2);
  if (view === "cat") {
    put($("cat"), rgba);
    $("cat").setAttribute("aria-label", `Generated cat of seed ${seed}`);
    $("status").textContent = `Cat ${seed}, ${facts.resolution} pixels, in ${seconds} s`;
  } else if (view === "morph") {
    if (index === 0) {
      put($("cat"), rgba);
      $("position").value = beat = 0;
    }
    $("cat").setAttribute("aria-label", `Generated cats between seeds ${seed} and ${to}`);
    $("status").textContent = done
      ? `${FRAMES} frames in ${seconds} s`
      : `${index + 1} of ${FRAMES} frames`;
  } else {
    const canvas = sheetCanvases()[index];
    put(canvas, rgba);
    canvas.className = "";
    canvas.parentElement.setAttribute("aria-label", `Cat ${sheetSeeds()[index]}`);
    $("status").textContent = done
      ? `Seeds ${seed} to ${sheetSeeds().at(-1)}, in ${seconds} s. Choose one.`
      : `${index + 1} of ${CATS_ON_A_SHEET} cats`;
  }
  if (!done) return;
  $("status").setAttribute("aria-busy", false);
  if (saving) download();
}

function put(canvas, image) {
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// -- morph ----------------------------------------------------------------------------------------

/** The next frame, there and back again, among those that are drawn. */
function step() {
  if (state.view !== "morph" || !playing || frames.length < 2) return;
  const last = frames.length - 1;
  beat = (beat + 1) % (2 * last);
  const index = beat <= last ? beat : 2 * last - beat;
  put($("cat"), frames[index]);
  $("position").value = index;
}

function play(on) {
  playing = on;
  $("play").textContent = on ? "Pause" : "Play";
}

// -- sheet ----------------------------------------------------------------------------------------

function sheetSeeds() {
  return Array.from({ length: CATS_ON_A_SHEET }, (_, i) => shifted(state.seed, BigInt(i)));
}

function sheetCanvases() {
  const sheet = $("sheet");
  if (!sheet.children.length) {
    for (let index = 0; index < CATS_ON_A_SHEET; index++) {
      const item = sheet.appendChild(document.createElement("li"));
      const button = item.appendChild(document.createElement("button"));
      button.type = "button";
      button.appendChild(document.createElement("canvas"));
      button.addEventListener("click", () => go({ view: "cat", seed: sheetSeeds()[index] }));
    }
  }
  return [...sheet.querySelectorAll("canvas")];
}

// -- controls -------------------------------------------------------------------------------------

function anyCat() {
  const seed = randomSeed();
  go({ seed, to: another(seed, randomSeed()) });
}

function neighbor(by) {
  const width = state.view === "sheet" ? BigInt(CATS_ON_A_SHEET) : 1n;
  go({ seed: shifted(state.seed, by * width), to: shifted(state.to, by * width) });
}

function takeSeed() {
  const seed = parseSeed($("seed").value);
  $("seed").setAttribute("aria-invalid", seed === null);
  if (seed === null) {
    $("status").textContent = `A seed is a whole number from 0 to ${LARGEST_SEED}`;
  } else if (seed !== state.seed) {
    go({ seed, to: shifted(seed, 1n) });
  }
}

/** What is seen, at its own size: the cat, the frame, or the sheet. */
function picture() {
  if (state.view !== "sheet") return $("cat");
  const side = facts.resolution, gap = 2, columns = 4;
  const page = document.createElement("canvas");
  page.width = page.height = columns * side + (columns - 1) * gap;
  const context = page.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, page.width, page.height);
  frames.forEach((image, index) => {
    const [row, column] = [Math.floor(index / columns), index % columns];
    context.putImageData(image, column * (side + gap), row * (side + gap));
  });
  return page;
}

/** Save what is asked for: at once, or as soon as it is drawn. */
function download() {
  saving = frames.length < wanted;
  if (saving) return;
  picture().toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${state.view}${state.seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

async function share() {
  writeAddress(); // a change may be waiting
  try {
    await navigator.clipboard.writeText(location.href);
    $("status").textContent = "The link is copied";
  } catch {
    $("status").textContent = location.href;
  }
}

$("new").addEventListener("click", anyCat);
$("previous").addEventListener("click", () => neighbor(-1n));
$("next").addEventListener("click", () => neighbor(1n));
$("download").addEventListener("click", download);
$("share").addEventListener("click", share);
$("seed").addEventListener("change", takeSeed);
$("panel").addEventListener("submit", (event) => {
  event.preventDefault();
  takeSeed();
});
$("variety").addEventListener("input", () => go({ variety: Number($("variety").value) }, false));
$("play").addEventListener("click", () => play(!playing));
$("position").addEventListener("input", () => {
  play(false);
  const image = frames[Number($("position").value)];
  if (image) put($("cat"), image);
});
for (const radio of document.querySelectorAll('input[name="view"]')) {
  radio.addEventListener("change", () => go({ view: radio.value }));
}
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=radio])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !ready) return;
  const onRadio = event.target.matches?.("input[type=radio]");
  const actions = {
    n: anyCat,
    s: download,
    1: () => go({ view: "cat" }),
    2: () => go({ view: "morph" }),
    3: () => go({ view: "sheet" }),
    ...(onRadio ? {} : { ArrowLeft: () => neighbor(-1n), ArrowRight: () => neighbor(1n) }),
  };
  const action = actions[event.key] ?? actions[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});
