// Draws, away from the page's own thread. Messages in: {start: facts} once, then {job, latents,
// truncation}; a newer job replaces an older one. Messages out: {loaded}, {ready},
// {job, index, pixels}, {failed}.

import * as ort from "./runtime/ort.js";

let session = null;
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
  session = await ort.InferenceSession.create(await model.arrayBuffer(), {
    executionProviders: ["wasm"],
  });
  self.postMessage({ ready: true });
}

/** The bytes of a blob, unpacked if they are gzip's: a host may have unpacked them already. */
async function unpacked(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function draw({ job, latents, truncation }) {
  current = job;
  const psi = new ort.Tensor("float32", Float32Array.of(truncation), [1]);
  for (const [index, z] of latents.entries()) {
    await new Promise((resolve) => setTimeout(resolve)); // a newer job may be waiting
    if (job !== current) return;
    const { images } = await session.run({
      z: new ort.Tensor("float32", z, [1, z.length]),
      truncation: psi,
    });
    const pixels = new Uint8Array(images.data);
    self.postMessage({ job, index, pixels }, [pixels.buffer]);
  }
}
