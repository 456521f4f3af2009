// Draws, away from the page's own thread. Messages in: {start: facts} once, then {job, latents,
// truncation}; a newer job replaces an older one. Messages out: {loaded}, {ready},
// {job, index, pixels}, {failed}. Where this browser cannot and facts.server names a model of the
// Open Inference Protocol, the server draws: {ready, server: true}.

const TRIES = 5; // of a server that is busy

let drawOne = null; // (z, truncation) -> pixels
let current = -1;

self.onmessage = async ({ data }) => {
  try {
    if (data.start) await start(data.start);
    else await draw(data);
  } catch (error) {
    self.postMessage({ failed: String(error?.message ?? error) });
  }
};

async function start(facts) {
  try {
    drawOne = await inBrowser(facts);
  } catch (error) {
    if (!facts.server) throw error;
    drawOne = onServer(facts.server);
    await drawOne(new Float32Array(facts.latent_size), 0); // fails here if the server does
    self.postMessage({ ready: true, server: true });
    return;
  }
  self.postMessage({ ready: true });
}

async function inBrowser(facts) {
  const ort = await import("./runtime/ort.js");
  let loaded = 0;
  const fetchAll = async ({ name, version }) => {
    const response = await fetch(`${name}?${version}`);
    if (!response.ok) throw new Error(`${name} cannot be fetched (${response.status})`);
    const chunks = [];
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      loaded += value.length;
      self.postMessage({ loaded });
    }
    return new Blob(chunks);
  };
  const [wasm, model] = await Promise.all([fetchAll(facts.runtime), fetchAll(facts.model)]);
  ort.env.wasm.numThreads = 1; // more need headers that a plain static host does not send
  ort.env.wasm.wasmBinary = await unpacked(wasm);
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(await model.arrayBuffer(), {
    executionProviders: ["wasm"],
  });
  return async (z, truncation) => {
    const { images } = await session.run({
      z: new ort.Tensor("float32", z, [1, z.length]),
      truncation: new ort.Tensor("float32", Float32Array.of(truncation), [1]),
    });
    return images.data;
  };
}

/** A request with JSON; an answer with JSON, then the pixels as they are. */
function onServer(address) {
  return async (z, truncation) => {
    const tensor = (name, shape, data) => ({ name, shape, datatype: "FP32", data });
    const body = JSON.stringify({
      inputs: [tensor("z", [1, z.length], [...z]), tensor("truncation", [1], [truncation])],
      parameters: { binary_data_output: true },
    });
    let response;
    for (let count = 0; count < TRIES; count++) {
      const headers = { "Content-Type": "application/json" };
      response = await fetch(`${address}/infer`, { method: "POST", headers, body });
      if (![429, 503].includes(response.status)) break;
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
    if (!response.ok) throw new Error(`the server does not draw (${response.status})`);
    const start = Number(response.headers.get("Inference-Header-Content-Length"));
    return new Uint8Array(await response.arrayBuffer(), start);
  };
}

/** The bytes of a blob, unpacked if they are gzip's: a host may have unpacked them already. */
async function unpacked(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function draw({ job, latents, truncation }) {
  current = job;
  for (const [index, z] of latents.entries()) {
    await new Promise((resolve) => setTimeout(resolve)); // a newer job may be waiting
    if (job !== current) return;
    const pixels = new Uint8Array(await drawOne(z, truncation));
    self.postMessage({ job, index, pixels }, [pixels.buffer]);
  }
}
