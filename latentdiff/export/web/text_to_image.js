// Makes pictures from words in the browser, with a folder of LiteRT files as `latentdiff export litert` writes it.
// The arithmetic is that of generate.py, which lies beside it: the same seed gives the same picture.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { Tokenizer } from "@huggingface/tokenizers";

const FORMAT = "latentdiff-litert";
const FORMAT_VERSION = 1;
export const MAX_SEED = 2 ** 31 - 1;
const NEEDED = [
  ...["image_size", "latent_shape", "prediction_type", "num_steps", "guidance_scale", "guidance_rescale"],
  ...["guidance_interval", "files", "sampler/name", "sampler/spacing", "tokenizer/file", "tokenizer/num_tokens"],
  ...["tokenizer/start_id", "tokenizer/end_id", "tokenizer/pad_id", "noise_schedule/num_train_timesteps"],
  ...["noise_schedule/preserves_variance", "noise_schedule/signal_positions", "noise_schedule/noise_positions"],
  ...["parts/text_encoder/file", "parts/denoiser/file", "parts/denoiser/inputs/timesteps/shape", "parts/decoder/file"],
];
const NUMBER = String.raw`:\s*-?[\d.]+(?:e[+-]?\d+)?\s*`;
const WEIGHTED = new RegExp(String.raw`(?<!\\)\(.*${NUMBER}\)|${NUMBER}(?<!\\)\|`, "is"); // (red:1.3), cat:0.5 | dog:0.5

export class TextToImage {
  /** Loads the folder at `base`, a URL that ends in a slash; `progress(text)` hears what is going on. */
  static async load(base, progress = () => {}) {
    const made = new TextToImage();
    made.manifest = await readManifest(base);
    const { files, parts } = made.manifest;
    progress("starting LiteRT");
    await loadLiteRt(new URL("vendor/litert/", base).href, { threads: globalThis.crossOriginIsolated });
    made.parts = {};
    for (const name of ["text_encoder", "denoiser", "decoder"]) {
      progress(`loading ${name.replace("_", " ")}`);
      const content = await checkedFile(base, parts[name].file, files);
      made.parts[name] = await loadAndCompile(content, { accelerator: "wasm" });
    }
    const tokens = await checkedFile(base, made.manifest.tokenizer.file, files);
    made.tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(tokens)), {});
    made.schedule = new Schedule(made.manifest.noise_schedule);
    return made;
  }

  /** RGBA pixels of a picture; `onStep(step, count, pixels)` sees each step. What is missing is the manifest's. */
  async generate({ prompt, negativePrompt = "", numSteps, guidanceScale, seed, onStep }) {
    const { manifest, schedule } = this;
    numSteps ??= manifest.num_steps;
    guidanceScale ??= manifest.guidance_scale;
    seed ??= Math.floor(Math.random() * MAX_SEED);
    checkRange("steps", numSteps, 1, schedule.total, true);
    checkRange("guidance", guidanceScale, 1, 1000, false);
    checkRange("seed", seed, 0, MAX_SEED, true);
    const texts = guidanceScale === 1 ? [prompt] : [prompt, negativePrompt];
    const contexts = [];
    for (const text of texts) contexts.push(await this.run("text_encoder", { token_ids: this.tokenize(text) }));
    const sampler = SAMPLERS[manifest.sampler.name];
    const temperature = manifest.sampler.temperature ?? 1;
    let latents = normal(seed, product(manifest.latent_shape)).map((value) => temperature * value);
    let history = null;
    let pixels;
    for (let step = 0; step < numSteps; step++) {
      const [here, there] = [step, step + 1].map((index) =>
        schedule.moment(timestep(manifest.sampler.spacing, index, numSteps, schedule.total)),
      );
      const predicted = await this.denoise(latents, here, contexts, guidanceScale);
      [latents, history] = sampler(predicted, history, here, there);
      if (onStep || step + 1 === numSteps) pixels = await this.decode(latents);
      onStep?.(step + 1, numSteps, pixels);
      await new Promise((resume) => setTimeout(resume)); // the page may draw now
    }
    return pixels;
  }

  /** Token ids of a text, padded. */
  tokenize(text) {
    if (WEIGHTED.test(text)) throw new Error("The prompt has weights or is a mixture, which is not possible here.");
    text = text.replace(/\\([()|:\\])/g, "$1"); // backslashes say that what follows is no weight
    const { start_id, end_id, pad_id, num_tokens } = this.manifest.tokenizer;
    const [start, end] = [start_id, end_id].map((id) => (id === null ? [] : [id]));
    const words = text ? this.tokenizer.encode(text, { add_special_tokens: false }).ids : [];
    const ids = [...start, ...words, ...end];
    if (ids.length > num_tokens) {
      const room = num_tokens - start.length - end.length;
      throw new Error(`The prompt is too long: it has ${words.length} tokens, ${room} fit.`);
    }
    return Int32Array.from({ length: num_tokens }, (_, place) => ids[place] ?? pad_id);
  }

  /** The clean latents and the noise that the denoiser sees, guided. */
  async denoise(latents, here, contexts, guidanceScale) {
    const { guidance_rescale: rescale, guidance_interval: interval, prediction_type: type } = this.manifest;
    const pairs = (await this.predict(latents, here, contexts)).map((one) =>
      this.schedule.split(one, latents, here, type),
    );
    const [low, high] = interval ?? [-1, Infinity];
    const sigma = here.noise / Math.max(here.signal, 1e-12);
    if (pairs.length === 1 || !(low < sigma && sigma <= high)) return pairs[0];
    const extra = guidanceScale - 1;
    const [guided, guidedNoise] = [0, 1].map((which) =>
      map(([plain, without]) => plain + extra * (plain - without), pairs[0][which], pairs[1][which]),
    );
    if (!rescale) return [guided, guidedNoise];
    const factor = 1 + rescale * (deviation(pairs[0][0]) / Math.max(deviation(guided), 1e-6) - 1);
    const moved = (here.signal * (1 - factor)) / Math.max(here.noise, 1e-6);
    return [map(([x]) => factor * x, guided), map(([x, noise]) => noise + moved * x, guided, guidedNoise)];
  }

  /** The denoiser's answer for each context, asked for as many at a time as its file takes. */
  async predict(latents, here, contexts) {
    const rows = this.manifest.parts.denoiser.inputs.timesteps.shape[0];
    const answers = [];
    for (let start = 0; start < contexts.length; start += rows) {
      const places = Array.from({ length: rows }, (_, row) => Math.min(start + row, contexts.length - 1));
      const { prediction } = await this.run("denoiser", {
        noisy_latents: concatenate(places.map(() => latents)),
        timesteps: new Float32Array(rows).fill(Math.max(here.timestep, 0)),
        context: concatenate(places.map((place) => contexts[place].context)),
        context_mask: concatenate(places.map((place) => contexts[place].context_mask)),
      });
      for (let row = 0; start + row < contexts.length && row < rows; row++) {
        answers.push(prediction.slice(row * latents.length, (row + 1) * latents.length));
      }
    }
    return answers;
  }

  /** RGBA pixels of latents. */
  async decode(latents) {
    const { images } = await this.run("decoder", { latents });
    const pixels = new Uint8ClampedArray((images.length / 3) * 4).fill(255);
    images.forEach((value, index) => {
      const level = Math.min(Math.max(value * 127.5 + 127.5, 0), 255);
      pixels[Math.floor(index / 3) * 4 + (index % 3)] = Math.floor(level + 0.5);
    });
    return pixels;
  }

  /** What the file of a part answers: typed arrays by name in, typed arrays by name out. */
  async run(part, inputs) {
    const shapes = this.manifest.parts[part].inputs;
    const tensors = {};
    for (const [name, data] of Object.entries(inputs)) tensors[name] = new Tensor(data, shapes[name].shape);
    const results = await this.parts[part].run(tensors);
    const answers = {};
    for (const [name, tensor] of Object.entries(results)) {
      answers[name] = (await tensor.data()).slice();
      tensor.delete();
    }
    for (const tensor of Object.values(tensors)) tensor.delete();
    return answers;
  }
}

// === Files ===

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname} can't be read: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function readManifest(base) {
  const text = new TextDecoder().decode(await fetchBytes(new URL("manifest.json", base)));
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    throw new Error(`manifest.json is damaged: ${error.message}`);
  }
  const { format, version } = manifest ?? {};
  if (format !== FORMAT || version !== FORMAT_VERSION) {
    throw new Error(`manifest.json is not ${FORMAT} version ${FORMAT_VERSION}, but ${format} version ${version}`);
  }
  for (const place of NEEDED) {
    const found = place.split("/").reduce((value, key) => value?.[key], manifest);
    if (found === undefined) throw new Error(`manifest.json is damaged: it lacks ${place}`);
  }
  return manifest;
}

async function checkedFile(base, name, files) {
  const content = await fetchBytes(new URL(name, base));
  if (!files[name]) throw new Error(`manifest.json is damaged: it lacks files/${name}`);
  if (content.length !== files[name].bytes) throw new Error(`${name} is truncated or swapped`);
  if (globalThis.crypto?.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== files[name].sha256) throw new Error(`${name} is damaged or swapped`);
  }
  return content;
}

// === Noise, time and samplers ===

const shuffle = (bits) => {
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
};
const uniform = (bits) => ((bits >>> 9) + 0.5) * 2 ** -23;

/** Gaussian noise of a seed, by an integer hash and the Box-Muller transform. */
export function normal(seed, size) {
  const key = shuffle((seed + shuffle(1)) | 0);
  return Float32Array.from({ length: size }, (_, index) => {
    const first = shuffle((shuffle((key + Math.imul(index, 0x61c88647)) | 0) + key) | 0);
    const second = shuffle((first + 0x6a09e667) | 0);
    return Math.sqrt(-2 * Math.log(uniform(first))) * Math.cos(2 * Math.PI * uniform(second));
  });
}

/** Signal and noise rates over time. */
class Schedule {
  constructor({ num_train_timesteps, preserves_variance, signal_positions, noise_positions }) {
    Object.assign(this, { total: num_train_timesteps, preservesVariance: preserves_variance });
    this.positions = [signal_positions, noise_positions];
  }

  /** A timestep with its rates and the log of their ratio. */
  moment(timestep) {
    const place = Math.min(Math.max(timestep + 1, 0), this.total);
    const below = Math.floor(place);
    const above = Math.min(below + 1, this.total);
    const [signal, noise] = this.positions.map((table) => {
      const position = table[below] + (table[above] - table[below]) * (place - below);
      return this.preservesVariance ? Math.sin(position) : position;
    });
    return { timestep, signal, noise, logSnr: Math.log(signal) - Math.log(noise) };
  }

  /** The clean latents and the noise that a prediction means. */
  split(prediction, latents, here, type) {
    const { signal, noise } = here;
    if (type === "noise") return [map(([p, x]) => (x - noise * p) / signal, prediction, latents), prediction];
    if (type === "latents") return [prediction, map(([p, x]) => (x - signal * p) / noise, prediction, latents)];
    const [ofNoise, ofLatents] = this.preservesVariance ? [signal, noise] : [1, 1];
    const determinant = signal * ofNoise + noise * ofLatents;
    return [
      map(([p, x]) => (ofNoise * x - noise * p) / determinant, prediction, latents),
      map(([p, x]) => (ofLatents * x + signal * p) / determinant, prediction, latents),
    ];
  }
}

/** The timestep at the beginning of a step; -1, the clean picture, behind the last. */
function timestep(spacing, index, numSteps, total) {
  if (index >= numSteps) return -1;
  const remaining = numSteps - index;
  if (spacing === "trailing") return Math.floor(Math.fround(Math.fround(remaining * total) / numSteps) + 0.5) - 1;
  if (spacing === "leading") return (remaining - 1) * Math.floor(total / numSteps);
  return Math.floor(((remaining - 1) / Math.max(numSteps - 1, 1)) * (total - 1) + 0.5);
}

const SAMPLERS = {
  ddim: ([latents, noise], history, here, there) => [
    map(([x, n]) => there.signal * x + there.noise * n, latents, noise),
    null,
  ],
  dpmpp_2m: ([latents, noise], history, here, there) => {
    const known = history && Number.isFinite(history.logSnr) && Number.isFinite(there.logSnr);
    const ratio = known ? (there.logSnr - here.logSnr) / (here.logSnr - history.logSnr) : 0;
    const last = known ? history.latents : latents;
    const kept = (here.signal * there.noise) / (there.signal * here.noise);
    const moved = map(
      ([x, n, l]) => there.signal * (x + (1 - kept) * 0.5 * ratio * (x - l)) + there.noise * n,
      latents,
      noise,
      last,
    );
    return [moved, { latents, logSnr: here.logSnr }];
  },
};

// === Arrays ===

const map = (f, ...arrays) => Float32Array.from(arrays[0], (_, index) => f(arrays.map((array) => array[index])));
const product = (sides) => sides.reduce((a, b) => a * b, 1);

function concatenate(arrays) {
  const whole = new Float32Array(arrays.length * arrays[0].length);
  arrays.forEach((array, row) => whole.set(array, row * array.length));
  return whole;
}

function deviation(array) {
  const mean = array.reduce((a, b) => a + b, 0) / array.length;
  return Math.sqrt(array.reduce((sum, x) => sum + (x - mean) ** 2, 0) / array.length);
}

function checkRange(name, value, low, high, whole) {
  if (!(low <= value && value <= high) || (whole && !Number.isInteger(value))) {
    throw new Error(`${name} must be a ${whole ? "whole " : ""}number from ${low} to ${high}`);
  }
}
