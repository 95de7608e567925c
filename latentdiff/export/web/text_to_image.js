// Makes images from prompts in the browser, with a folder of LiteRT files as `latentdiff export litert` writes it. The
// files hold the arithmetic: the same seed gives the same image as generate.py, which lies beside it.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
import { Tokenizer } from "@huggingface/tokenizers";

const FORMAT = "latentdiff-litert";
const FORMAT_VERSION = 2;
const DRAWN_SEEDS = 1_000_000;
const NEEDED = [
  ...["image_size", "latent_shape", "settings", "samplers", "files", "tokenizer/file", "tokenizer/num_tokens"],
  ...["tokenizer/start_id", "tokenizer/end_id", "tokenizer/pad_id", "parts/text_encoder/file", "parts/denoiser/file"],
  ...["parts/decoder/file", "parts/encoder/file"],
];
const NUMBER = String.raw`:\s*-?[\d.]+(?:e[+-]?\d+)?\s*`;
const WEIGHTED = new RegExp(String.raw`(?<!\\)\(.*${NUMBER}\)|${NUMBER}(?<!\\)\|`, "is"); // (red:1.3), a:1 | b:2

export class TextToImage {
  /** Loads the folder at `base`, a URL that ends in a slash; `progress(text)` hears what is going on. */
  static async load(base, progress = () => {}) {
    const made = new TextToImage();
    Object.assign(made, { base, parts: {}, manifest: await readManifest(base) });
    made.settings = Object.fromEntries(made.manifest.settings.map((row) => [row.name, row]));
    progress("starting LiteRT");
    await loadLiteRt(new URL("vendor/litert/", base).href, { threads: globalThis.crossOriginIsolated });
    for (const name of ["text_encoder", "denoiser", "decoder"]) {
      progress(`loading ${name.replace("_", " ")}`);
      await made.part(name);
    }
    const tokens = await checkedFile(base, made.manifest.tokenizer.file, made.manifest.files);
    made.tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(tokens)), {});
    return made;
  }

  /** RGBA pixels of an image. `settings` are those of the manifest by name, prompts among them; what is missing or null
   * is the default. `image`: ImageData of the right size to start from. `onStep(step, count, pixels)` sees each step.
   */
  async generate(settings, { image = null, onStep } = {}) {
    const row = this.checked(settings, image);
    const values = { ...row, latents: 0, first_step: 0, repaint: 1, ...(await this.condition(row)) };
    if (image) {
      const levels = image.data.filter((_, index) => index % 4 < 3);
      Object.assign(values, await this.run("encoder", { images: Float32Array.from(levels, (x) => x / 127.5 - 1) }));
      values.first_step = row.num_steps * (1 - row.strength);
    }
    const { start, advance } = this.manifest.samplers[row.sampler];
    Object.assign(values, await this.run(start, values));
    const first = values.step[0];
    for (let step = first; step < row.num_steps; step++) {
      Object.assign(values, await this.run("denoiser", values));
      Object.assign(values, await this.run(advance, values));
      if (onStep) onStep(step + 1 - first, row.num_steps - first, await this.decode(values.noisy_latents));
      await new Promise((resume) => setTimeout(resume)); // the page may draw now
    }
    return this.decode(values.noisy_latents);
  }

  /** All settings of an image, with defaults; throws if one is unknown or out of bounds. */
  checked(given, image) {
    const unknown = Object.keys(given).find((name) => !this.settings[name]);
    if (unknown) throw new Error(`${unknown} is no setting; known are ${Object.keys(this.settings).join(", ")}`);
    const row = {};
    for (const { name, kind, low, high, choices, expected, needs, ...told } of this.manifest.settings) {
      const value = given[name] ?? (told.drawn ? Math.floor(Math.random() * DRAWN_SEEDS) : told.default);
      const numbers = kind === "interval" ? value : [value];
      const text = kind === "str" || kind === "bool";
      const right =
        (text || numbers.every((x) => typeof x === "number" && (low ?? -Infinity) <= x && x <= (high ?? Infinity))) &&
        (kind !== "int" || Number.isInteger(value)) &&
        (kind !== "interval" || (value.length === 2 && value[0] < value[1])) &&
        (choices.length === 0 || choices.includes(value));
      if (!right) throw new Error(`${name} must be ${expected}`);
      if (given[name] != null && needs && !(needs === "images" && image)) throw new Error(`${name} needs ${needs}`);
      row[name] = value;
    }
    return row;
  }

  /** What the text encoder answers to the prompt and the negative prompt, one behind the other. */
  async condition({ prompts, negative_prompts }) {
    const rows = [];
    for (const text of [prompts, negative_prompts]) {
      rows.push(await this.run("text_encoder", { token_ids: this.tokenize(text) }));
    }
    return Object.fromEntries(Object.keys(rows[0]).map((name) => [name, [...rows[0][name], ...rows[1][name]]]));
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

  /** What the file of a part answers to those of the values that it takes: by name in, by name out. */
  async run(part, values) {
    const tensors = {};
    const model = await this.part(part);
    for (const [name, { shape, dtype }] of Object.entries(this.manifest.parts[part].inputs)) {
      tensors[name] = new Tensor(spread(values[name], shape, dtype), shape);
    }
    const results = await model.run(tensors);
    const answers = {};
    for (const [name, tensor] of Object.entries(results)) answers[name] = (await tensor.data()).slice();
    for (const tensor of [...Object.values(tensors), ...Object.values(results)]) tensor.delete();
    return answers;
  }

  /** The compiled file of a part, loaded when first needed. */
  async part(name) {
    if (!this.parts[name]) {
      const content = await checkedFile(this.base, this.manifest.parts[name].file, this.manifest.files);
      this.parts[name] = await loadAndCompile(content, { accelerator: "wasm" });
    }
    return this.parts[name];
  }
}

/** A number or numbers, repeated until the shape is full: one row for all rows. */
function spread(values, shape, dtype) {
  const given = typeof values === "number" ? [values] : values;
  const array = new { int32: Int32Array, float32: Float32Array }[dtype](shape.reduce((a, b) => a * b, 1));
  for (let place = 0; place < array.length; place += given.length) array.set(given, place);
  return array;
}

async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname} can't be read: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function readManifest(base) {
  const content = new Response(await fetchBytes(new URL("manifest.json", base)));
  const manifest = await content.json().catch((error) => {
    throw new Error(`manifest.json is damaged: ${error.message}`);
  });
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
