// Generates images outside the page's main thread.
//
// Messages in: {start: description} once, then {job, latents, truncation}; a newer job replaces an
// older one. Messages out: {loaded}, {ready}, {job, index, pixels}, {failed}. If this browser
// cannot run the generator and description.server names a model of the Open Inference Protocol,
// the server generates the images: {ready, server: true}.

const MAX_ATTEMPTS = 5; // while the server is busy

let generateImage = null; // (z, truncation) -> pixels
let currentJob = -1;

self.onmessage = async ({ data }) => {
  try {
    if (data.start) await start(data.start);
    else await generate(data);
  } catch (error) {
    self.postMessage({ failed: String(error?.message ?? error) });
  }
};

async function start(description) {
  try {
    generateImage = await browserGenerator(description);
  } catch (error) {
    if (!description.server) throw error;
    generateImage = serverGenerator(description.server);
    // One trial image, so that a failing server is reported now.
    await generateImage(new Float32Array(description.latent_size), 0);
    self.postMessage({ ready: true, server: true });
    return;
  }
  self.postMessage({ ready: true });
}

/** Return a function that generates an image with ONNX Runtime Web. */
async function browserGenerator(description) {
  const ort = await import("./runtime/ort.js");
  let loaded = 0;
  const fetchAll = async ({ name, version }) => {
    const response = await fetch(`${name}?${version}`);
    if (!response.ok) throw new Error(`cannot download ${name} (${response.status})`);
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
  const [wasm, model] = await Promise.all([
    fetchAll(description.runtime),
    fetchAll(description.model),
  ]);
  ort.env.wasm.numThreads = 1; // threads need headers that a plain static host does not send
  ort.env.wasm.wasmBinary = await decompress(wasm);
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

/** Return a function that generates an image on the server, with a binary response. */
function serverGenerator(url) {
  return async (z, truncation) => {
    const tensor = (name, shape, data) => ({ name, shape, datatype: "FP32", data });
    const body = JSON.stringify({
      inputs: [tensor("z", [1, z.length], [...z]), tensor("truncation", [1], [truncation])],
      parameters: { binary_data_output: true },
    });
    let response;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const headers = { "Content-Type": "application/json" };
      response = await fetch(`${url}/infer`, { method: "POST", headers, body });
      if (![429, 503].includes(response.status)) break;
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
    if (!response.ok) throw new Error(`the server cannot generate images (${response.status})`);
    const jsonLength = Number(response.headers.get("Inference-Header-Content-Length"));
    return new Uint8Array(await response.arrayBuffer(), jsonLength);
  };
}

/** Return the bytes of a blob, decompressed if they are gzip: some hosts decompress them first. */
async function decompress(blob) {
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (first !== 0x1f || second !== 0x8b) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function generate({ job, latents, truncation }) {
  currentJob = job;
  for (const [index, z] of latents.entries()) {
    await new Promise((resolve) => setTimeout(resolve)); // lets a newer job's message arrive
    if (job !== currentJob) return;
    const pixels = new Uint8Array(await generateImage(z, truncation));
    self.postMessage({ job, index, pixels }, [pixels.buffer]);
  }
}
