// Latents of seeds, and interpolation between two: the same numbers as in
// catgan/generation/latents.py and interpolation.py. Philox 4x32-10 (Salmon et al., SC 2011), then
// the Box-Muller transform.

export const SEED_BITS = 63;
export const MAX_SEED = 2n ** 63n - 1n;
const WORD = 2 ** 32;

/** Return the seed in a text as a BigInt, or null if the text is not a valid seed. */
export function parseSeed(text) {
  const trimmed = text.trim();
  if (!/^\d{1,19}$/.test(trimmed)) return null;
  const seed = BigInt(trimmed);
  return seed <= MAX_SEED ? seed : null;
}

/** Return the upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const first = a1 * b0 + ((a0 * b0) >>> 16);
  const second = a0 * b1 + (first & 0xffff);
  return (a1 * b1 + (first >>> 16) + (second >>> 16)) >>> 0;
}

/** Return four random 32-bit words from a counter (4 words) and a key (2 words). */
export function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0), low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high2 = multiplyHigh(0xcd9e8d57, c2), low2 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high2 ^ c1 ^ k0) >>> 0, low2, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Return the latent of a seed (BigInt): a Float32Array of `size` standard normal numbers. */
export function latent(seed, size) {
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)];
  const numbers = new Float32Array(4 * Math.ceil(size / 4));
  for (let block = 0; 4 * block < size; block++) {
    const words = philox([block, 0, 0, 0], key);
    for (let pair = 0; pair < 4; pair += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[pair] + 1) / WORD));
      const angle = (2 * Math.PI * words[pair + 1]) / WORD;
      numbers[4 * block + pair] = radius * Math.cos(angle);
      numbers[4 * block + pair + 1] = radius * Math.sin(angle);
    }
  }
  return numbers.slice(0, size);
}

/** Return the spherical interpolation from a to b at t in [0, 1] (Shoemake, SIGGRAPH 1985). */
export function slerp(a, b, t) {
  let dot = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  const cosine = dot / Math.max(Math.sqrt(aa) * Math.sqrt(bb), 1e-12);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  const parallel = sine < 1e-6;
  const p = parallel ? 1 - t : Math.sin((1 - t) * angle) / sine;
  const q = parallel ? t : Math.sin(t * angle) / sine;
  return a.map((value, i) => p * value + q * b[i]);
}
