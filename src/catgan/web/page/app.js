// The page. What it shows is a pure function of the URL's fragment (#seed, view, to, variety).

import { MAX_SEED, SEED_BITS, latent, parseSeed, slerp } from "./latents.js";

const MORPH_FRAMES = 24; // forward; playing backward shows the same frames
const FRAMES_PER_SECOND = 15;
const GRID_SIZE = 16;
const GRID_COLUMNS = 4;
const MAX_RANDOM_SEED = 1_000_000; // short enough to remember
const URL_INTERVAL = 400; // ms between updates of the URL; Safari rejects more than 100 in 30 s

const $ = (id) => document.getElementById(id);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
const worker = new Worker("worker.js", { type: "module" });

let description = null; // generator.json
let ready = false; // the generator is loaded; until then the controls are disabled
let state = { view: "cat", seed: 7n, to: 8n, variety: 100 };
let job = 0;
let jobStarted = 0;
let frames = []; // images of the job so far
let frameCount = 0; // images of the whole job
let savePending = false; // save once all images are generated
let playing = !reducedMotion.matches;
let morphStep = 0; // position in the loop of the morph, forward and backward
let urlUpdate = { timer: 0, written: -Infinity, push: false };

start();

async function start() {
  try {
    const response = await fetch("generator.json", { cache: "no-cache" });
    if (!response.ok) throw new Error(`cannot download generator.json (${response.status})`);
    description = await response.json();
  } catch (error) {
    fail(error.message);
    return;
  }
  const { name, data, credit, license, began, catgan } = description;
  $("terms").textContent =
    `Generator: ${name}. Trained on ${data}; credit: ${credit}; license: ${license}. ` +
    `${began && `Its training started from ${began}. `}Made with catgan ${catgan}.`;
  for (const canvas of [$("cat"), ...gridCanvases()]) {
    canvas.width = canvas.height = description.resolution;
  }
  worker.postMessage({ start: description });
}

worker.onerror = () => fail("this browser cannot run the generator");
worker.onmessage = ({ data }) => {
  if (data.failed) fail(data.failed);
  else if (data.loaded) showLoading(data.loaded);
  else if (data.ready) onReady(data.server);
  else if (data.job === job) onImage(data.index, data.pixels);
};

function onReady(onServer) {
  ready = true;
  if (onServer) $("about").textContent = "Generated on the server by a neural network.";
  $("loading").hidden = true;
  $("controls").disabled = false;
  readUrl();
  addEventListener("hashchange", readUrl);
  setInterval(showNextFrame, 1000 / FRAMES_PER_SECOND);
}

function showLoading(bytes) {
  const total = description.model.bytes + (description.runtime?.bytes ?? 0);
  $("progress").value = Math.min(1, bytes / total);
  const megabytes = (number) => (number / 1e6).toFixed(1);
  $("loading-text").textContent =
    bytes < total
      ? `Downloading the generator: ${megabytes(bytes)} of ${megabytes(total)} MB`
      : "Starting the generator";
}

function fail(reason) {
  worker.terminate();
  worker.onmessage = null; // later messages would overwrite the reason
  ready = false;
  $("controls").disabled = true;
  $("status").textContent = "";
  $("loading").hidden = false;
  $("progress").hidden = true;
  $("loading-text").textContent = `No cat: ${reason}`;
}

// -- the URL --------------------------------------------------------------------------------------

function readUrl() {
  clearTimeout(urlUpdate.timer);
  const params = new URLSearchParams(location.hash.slice(1));
  const views = ["cat", "morph", "grid"];
  const variety = Number(params.get("variety") ?? 100);
  const seed = parseSeed(params.get("seed") ?? "") ?? 7n;
  state = {
    view: views.includes(params.get("view")) ? params.get("view") : "cat",
    seed,
    to: otherSeed(seed, parseSeed(params.get("to") ?? "")),
    variety: variety >= 0 && variety <= 100 ? Math.round(variety) : 100,
  };
  render();
}

/** Change the state and update the URL; with `push` as a new entry of the browser's history. */
function setState(change, push = true) {
  if (!ready) return;
  state = { ...state, ...change };
  urlUpdate.push ||= push;
  clearTimeout(urlUpdate.timer);
  const delay = urlUpdate.written + URL_INTERVAL - performance.now();
  if (delay > 0) urlUpdate.timer = setTimeout(writeUrl, delay);
  else writeUrl();
  render();
}

function writeUrl() {
  clearTimeout(urlUpdate.timer);
  const params = new URLSearchParams({ seed: state.seed });
  if (state.view !== "cat") params.set("view", state.view);
  if (state.view === "morph") params.set("to", state.to);
  if (state.variety !== 100) params.set("variety", state.variety);
  if (location.hash !== `#${params}`) {
    history[urlUpdate.push ? "pushState" : "replaceState"](null, "", `#${params}`);
  }
  urlUpdate = { timer: 0, written: performance.now(), push: false };
}

/** Return `seed + offset`, wrapping around after the largest seed. */
function shiftSeed(seed, offset) {
  return BigInt.asUintN(SEED_BITS, seed + offset);
}

/** Return `candidate` if it is a seed other than `seed`, else the seed after `seed`. */
function otherSeed(seed, candidate) {
  return candidate === null || candidate === seed ? shiftSeed(seed, 1n) : candidate;
}

function randomSeed() {
  return BigInt(crypto.getRandomValues(new Uint32Array(1))[0] % MAX_RANDOM_SEED);
}

// -- generating -----------------------------------------------------------------------------------

function render() {
  const { view, seed, to, variety } = state;
  document.querySelector(`input[name="view"][value="${view}"]`).checked = true;
  $("seed").value = seed;
  $("seed").removeAttribute("aria-invalid");
  $("variety").value = variety;
  $("variety-value").textContent = `${variety} %`;
  $("new").textContent = { cat: "New cat", morph: "New cats", grid: "New grid" }[view];
  $("cat").hidden = view === "grid";
  $("grid").hidden = view !== "grid";
  $("between").hidden = view !== "morph";
  $("ends").textContent = `${seed} and ${to}`;
  $("play").textContent = playing ? "Pause" : "Play";
  document.title = view === "grid" ? "Cats that do not exist" : `Cat ${seed} does not exist`;
  if (ready) startJob();
}

function startJob() {
  const size = description.latent_size;
  const { view, seed, to } = state;
  let latents = [latent(seed, size)];
  if (view === "morph") {
    const [a, b] = [latents[0], latent(to, size)];
    latents = Array.from({ length: MORPH_FRAMES }, (_, i) => slerp(a, b, i / (MORPH_FRAMES - 1)));
  } else if (view === "grid") {
    latents = gridSeeds().map((each) => latent(each, size));
  }
  frames = [];
  frameCount = latents.length;
  savePending = false;
  $("status").setAttribute("aria-busy", true); // screen readers announce the end, not each image
  if (view !== "cat") $("status").textContent = "Generating";
  for (const canvas of gridCanvases()) canvas.className = "stale";
  job += 1;
  jobStarted = performance.now();
  worker.postMessage({ job, latents, truncation: state.variety / 100 });
}

/** Show one image of the current job; images arrive in order. */
function onImage(index, pixels) {
  const rgba = new ImageData(description.resolution, description.resolution);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) {
    rgba.data[to] = pixels[from];
    rgba.data[to + 1] = pixels[from + 1];
    rgba.data[to + 2] = pixels[from + 2];
    rgba.data[to + 3] = 255;
  }
  frames[index] = rgba;
  const done = index + 1 === frameCount;
  const { view, seed, to } = state;
  const seconds = ((performance.now() - jobStarted) / 1000).toFixed(2);
  if (view === "cat") {
    paint($("cat"), rgba);
    $("cat").setAttribute("aria-label", `Generated cat, seed ${seed}`);
    $("status").textContent = `Cat ${seed}, ${description.resolution} pixels, in ${seconds} s`;
  } else if (view === "morph") {
    if (index === 0) {
      paint($("cat"), rgba);
      $("position").value = morphStep = 0;
    }
    $("cat").setAttribute("aria-label", `Morph between the cats of seeds ${seed} and ${to}`);
    $("status").textContent = done
      ? `${MORPH_FRAMES} frames in ${seconds} s`
      : `${index + 1} of ${MORPH_FRAMES} frames`;
  } else {
    const canvas = gridCanvases()[index];
    paint(canvas, rgba);
    canvas.className = "";
    canvas.parentElement.setAttribute("aria-label", `Cat ${gridSeeds()[index]}`);
    $("status").textContent = done
      ? `Seeds ${seed} to ${gridSeeds().at(-1)}, in ${seconds} s. Choose one.`
      : `${index + 1} of ${GRID_SIZE} cats`;
  }
  if (!done) return;
  $("status").setAttribute("aria-busy", false);
  if (savePending) save();
}

function paint(canvas, image) {
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// -- morph ----------------------------------------------------------------------------------------

/** Show the next frame of the morph, forward then backward, among those generated so far. */
function showNextFrame() {
  if (state.view !== "morph" || !playing || frames.length < 2) return;
  const last = frames.length - 1;
  morphStep = (morphStep + 1) % (2 * last);
  const index = morphStep <= last ? morphStep : 2 * last - morphStep;
  paint($("cat"), frames[index]);
  $("position").value = index;
}

function play(on) {
  playing = on;
  $("play").textContent = on ? "Pause" : "Play";
}

// -- grid -----------------------------------------------------------------------------------------

function gridSeeds() {
  return Array.from({ length: GRID_SIZE }, (_, i) => shiftSeed(state.seed, BigInt(i)));
}

/** Return the grid's canvases; the first call creates them. */
function gridCanvases() {
  const grid = $("grid");
  if (!grid.children.length) {
    for (let index = 0; index < GRID_SIZE; index++) {
      const item = grid.appendChild(document.createElement("li"));
      const button = item.appendChild(document.createElement("button"));
      button.type = "button";
      button.appendChild(document.createElement("canvas"));
      button.addEventListener("click", () => setState({ view: "cat", seed: gridSeeds()[index] }));
    }
  }
  return [...grid.querySelectorAll("canvas")];
}

// -- controls -------------------------------------------------------------------------------------

function showRandomCat() {
  const seed = randomSeed();
  setState({ seed, to: otherSeed(seed, randomSeed()) });
}

/** Move by one seed, or by one grid; `direction` is 1n or -1n. */
function moveSeed(direction) {
  const offset = direction * (state.view === "grid" ? BigInt(GRID_SIZE) : 1n);
  setState({ seed: shiftSeed(state.seed, offset), to: shiftSeed(state.to, offset) });
}

function readSeedField() {
  const seed = parseSeed($("seed").value);
  $("seed").setAttribute("aria-invalid", seed === null);
  if (seed === null) {
    $("status").textContent = `Invalid seed: expected a whole number from 0 to ${MAX_SEED}`;
  } else if (seed !== state.seed) {
    setState({ seed, to: shiftSeed(seed, 1n) });
  }
}

/** Return a canvas with the cat, the frame or the grid, at the generator's resolution. */
function canvasToSave() {
  if (state.view !== "grid") return $("cat");
  const side = description.resolution, gap = 2;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = GRID_COLUMNS * side + (GRID_COLUMNS - 1) * gap;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  frames.forEach((image, index) => {
    const [row, column] = [Math.floor(index / GRID_COLUMNS), index % GRID_COLUMNS];
    context.putImageData(image, column * (side + gap), row * (side + gap));
  });
  return canvas;
}

/** Save the current images as PNG: now, or once all of them are generated. */
function save() {
  savePending = frames.length < frameCount;
  if (savePending) return;
  canvasToSave().toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${state.view}${state.seed}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

async function share() {
  writeUrl(); // an update may be pending
  try {
    await navigator.clipboard.writeText(location.href);
    $("status").textContent = "Link copied";
  } catch {
    $("status").textContent = location.href;
  }
}

$("new").addEventListener("click", showRandomCat);
$("previous").addEventListener("click", () => moveSeed(-1n));
$("next").addEventListener("click", () => moveSeed(1n));
$("download").addEventListener("click", save);
$("share").addEventListener("click", share);
$("seed").addEventListener("change", readSeedField);
$("panel").addEventListener("submit", (event) => {
  event.preventDefault();
  readSeedField();
});
$("variety").addEventListener("input", () => {
  setState({ variety: Number($("variety").value) }, false);
});
$("play").addEventListener("click", () => play(!playing));
$("position").addEventListener("input", () => {
  play(false);
  const image = frames[Number($("position").value)];
  if (image) paint($("cat"), image);
});
for (const radio of document.querySelectorAll('input[name="view"]')) {
  radio.addEventListener("change", () => setState({ view: radio.value }));
}
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input:not([type=radio])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !ready) return;
  const onRadio = event.target.matches?.("input[type=radio]");
  const actions = {
    n: showRandomCat,
    s: save,
    1: () => setState({ view: "cat" }),
    2: () => setState({ view: "morph" }),
    3: () => setState({ view: "grid" }),
    ...(onRadio ? {} : { ArrowLeft: () => moveSeed(-1n), ArrowRight: () => moveSeed(1n) }),
  };
  const action = actions[event.key] ?? actions[event.key.toLowerCase()];
  if (action) {
    event.preventDefault();
    action();
  }
});
