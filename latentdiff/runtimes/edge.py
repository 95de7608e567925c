"""Makes pictures from words with a folder of LiteRT files, as `latentdiff export litert` writes it.

This one file needs numpy, ai-edge-litert, tokenizers and pillow, no TensorFlow and no Keras. In an exported folder it
is `generate.py`: python generate.py "a red apple, 3d" --seed 7
"""

import argparse
import functools
import hashlib
import json
import math
import os
import re
import secrets
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

FORMAT, FORMAT_VERSION = "latentdiff-litert", 1
SAMPLERS = ("ddim", "dpmpp_2m")
MAX_SEED, MAX_GUIDANCE_SCALE = 2**31 - 1, 1000.0
NEEDED = """image_size latent_shape prediction_type num_steps guidance_scale guidance_rescale guidance_interval files
    sampler/name sampler/spacing tokenizer/file tokenizer/num_tokens tokenizer/start_id tokenizer/end_id
    tokenizer/pad_id noise_schedule/num_train_timesteps noise_schedule/preserves_variance
    noise_schedule/signal_positions noise_schedule/noise_positions parts/text_encoder/file parts/denoiser/file
    parts/denoiser/inputs/timesteps/shape parts/decoder/file parts/encoder/file"""  # of a manifest
NUMBER = r":\s*-?[\d.]+(?:e[+-]?\d+)?\s*"
WEIGHTED = re.compile(rf"(?is)(?<!\\)\(.*{NUMBER}\)|{NUMBER}(?<!\\)\|")  # `(red:1.3)`, `cat:0.5 | dog:0.5`


class EdgePipeline:
    """Text to image and image to image.

    Args:
        folder: an exported folder.
        num_threads: processor threads, at least 1; default: as many as this process may use cores.

    Raises:
        ValueError: a file is missing, truncated or not that of the manifest, or the manifest is of another version.
    """

    def __init__(self, folder, num_threads=None):
        from tokenizers import Tokenizer

        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.schedule = Schedule(**self.manifest["noise_schedule"])
        self.tokenizer = Tokenizer.from_file(str(self.folder / self.manifest["tokenizer"]["file"]))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._num_threads = cores if num_threads is None else num_threads
        self._runners, self._contexts = {}, {}

    def generate(
        self,
        prompt,
        negative_prompt="",
        num_steps=None,
        guidance_scale=None,
        guidance_rescale=None,
        guidance_interval=None,
        seed=None,
        sampler=None,
        image=None,
        strength=0.8,
        callback=None,
    ):
        """A picture of what the prompt says: that of `latentdiff generate` with the same settings.

        Args:
            prompt, negative_prompt: str, what to show and what to steer away from.
            num_steps: int >= 1, sampling steps.
            guidance_scale: float >= 1, how strictly to follow the prompt.
            guidance_rescale: float in [0, 1], how far the contrast that guidance adds is taken back.
            guidance_interval: (low, high), noise levels between which guidance works.
            seed: int in [0, 2**31 - 1]; None takes a fresh one.
            sampler: "ddim" or "dpmpp_2m", as it is by default.
            image: optional uint8 array (height, width, 3) to start from.
            strength: float in [0, 1], with `image`: how much of it is made anew.
            callback: optional function (step, num_steps, decode), called after each step; `decode()` gives its picture.

        What is None is taken from the manifest.

        Returns:
            uint8 array (height, width, 3).

        Raises:
            ValueError: settings out of range, or a prompt that is too long.
        """
        given = {"num_steps": num_steps, "guidance_scale": guidance_scale}
        given |= {"guidance_rescale": guidance_rescale, "guidance_interval": guidance_interval}
        settings = {name: self.manifest[name] if value is None else value for name, value in given.items()}
        how = self.manifest["sampler"] if sampler is None else {"name": sampler, "spacing": "trailing"}
        seed = secrets.randbelow(MAX_SEED) if seed is None else seed
        strength = 1.0 if image is None else strength
        self._check(how["name"], seed, strength, image, **settings)
        texts = [prompt, negative_prompt] if settings["guidance_scale"] != 1.0 else [prompt]
        context = [self._encode_text(text) for text in texts]
        places = Places(how["spacing"], settings.pop("num_steps"), strength, self.schedule)
        latents = self._begin(image, normal(seed, self.manifest["latent_shape"]), places, how.get("temperature", 1.0))
        step, history = globals()[f"{how['name']}_step"], None
        for index, (here, there) in enumerate(places.steps()):
            predicted = self._denoise(latents, here, context, **settings)
            latents, history = step(*predicted, history, here, there)
            if callback:
                callback(index + 1, places.count, lambda x=latents: self._decode(x))
        return self._decode(latents)

    def _check(self, sampler, seed, strength, image, num_steps, guidance_scale, guidance_rescale, guidance_interval):
        if sampler not in SAMPLERS:
            raise ValueError(f"`sampler` must be one of {SAMPLERS}. Received: sampler={sampler!r}")
        low, high = guidance_interval or (0.0, math.inf)
        ranges = {
            "num_steps": (num_steps, 1, self.schedule.num_train_timesteps),
            "guidance_scale": (guidance_scale, 1.0, MAX_GUIDANCE_SCALE),
            "guidance_rescale": (guidance_rescale, 0.0, 1.0),
            "guidance_interval": (low, 0.0, high),
            "seed": (seed, 0, MAX_SEED),
            "strength": (strength, 0.0, 1.0),
        }
        for name, (value, least, most) in ranges.items():
            if not least <= value <= most or (name in ("num_steps", "seed") and value != int(value)):
                raise ValueError(f"`{name}` must lie in [{least}, {most}]. Received: {name}={value}")
        shape = (*self.manifest["image_size"], 3)
        if image is not None and (np.shape(image) != shape or np.asarray(image).dtype != np.uint8):
            raise ValueError(f"`image` must be a uint8 array {shape}. Received: an array {np.shape(image)}")

    def _run(self, part, **inputs):
        """What the file of a part answers; it is opened when it is first needed."""
        from ai_edge_litert.interpreter import Interpreter

        if part not in self._runners:
            path = str(self.folder / self.manifest["parts"][part]["file"])
            self._runners[part] = Interpreter(model_path=path, num_threads=self._num_threads).get_signature_runner()
        return self._runners[part](**inputs)

    def _encode_text(self, text):
        """The context (tokens, dim) of a text and its mask (tokens,); the last few are kept."""
        if text not in self._contexts:
            answer = self._run("text_encoder", token_ids=self.tokenize(text)[None])
            found = {text: (answer["context"][0], answer["context_mask"][0])}
            self._contexts = {**dict([*self._contexts.items()][-7:]), **found}
        return self._contexts[text]

    def tokenize(self, text):
        """Token ids of a text, int32 (num_tokens,), padded. Raises ValueError if they are too many, or have weights."""
        if WEIGHTED.search(text):
            raise ValueError(f"The prompt has weights or is a mixture, which is not possible here. Received: {text!r}")
        told = self.manifest["tokenizer"]
        start, end = ([] if told[mark] is None else [told[mark]] for mark in ("start_id", "end_id"))
        text = re.sub(r"\\([()|:\\])", r"\1", text)  # backslashes say that what follows is no weight
        ids = [*start, *self.tokenizer.encode(text, add_special_tokens=False).ids, *end]
        if len(ids) > told["num_tokens"]:
            given, room = (count - len(start) - len(end) for count in (len(ids), told["num_tokens"]))
            raise ValueError(f"The prompt is too long: it has {given} tokens, {room} fit. Received: {text!r}")
        return np.array(ids + [told["pad_id"]] * (told["num_tokens"] - len(ids)), np.int32)

    def _denoise(self, latents, here, context, guidance_scale, guidance_rescale, guidance_interval):
        """The clean latents and the noise that the denoiser sees, guided."""
        kind, answers = self.manifest["prediction_type"], self._predict(latents, here, context)
        pairs = [self.schedule.split(answer, latents, here, kind) for answer in answers]
        low, high = guidance_interval or (-1.0, math.inf)
        if len(pairs) == 1 or not low < here.noise / max(here.signal, 1e-12) <= high:
            return pairs[0]
        (latents, noise), (latents_without, noise_without) = pairs
        extra = np.float32(guidance_scale - 1.0)
        guided = latents + extra * (latents - latents_without)
        guided_noise = noise + extra * (noise - noise_without)
        if not guidance_rescale:
            return guided, guided_noise
        factor = 1.0 + guidance_rescale * (latents.std() / max(guided.std(), 1e-6) - 1.0)
        return factor * guided, guided_noise + here.signal * (1.0 - factor) * guided / max(here.noise, 1e-6)

    def _predict(self, latents, here, context):
        """The denoiser's answer for each context, asked for as many at a time as its file takes."""
        rows = self.manifest["parts"]["denoiser"]["inputs"]["timesteps"]["shape"][0]
        same = {"noisy_latents": np.stack([latents] * rows).astype(np.float32)}
        same["timesteps"] = np.full(rows, max(here.timestep, 0.0), np.float32)
        answers = []
        for start in range(0, len(context), rows):
            batch = context[start : start + rows]
            features, masks = map(np.stack, zip(*batch, *batch[-1:] * (rows - len(batch)), strict=True))
            answer = self._run("denoiser", context=features, context_mask=masks, **same)
            answers += list(answer["prediction"][: len(batch)])
        return answers

    def _begin(self, image, noise, places, temperature):
        """What the loop begins with: noise alone, or the latents of a picture with noise."""
        if not places.first > 0:
            return noise * np.float32(temperature)
        images = np.asarray(image, np.float32)[None] / np.float32(127.5) - np.float32(1.0)
        start = places.moment(places.first)
        latents = self._run("encoder", images=images)["latents"][0]
        return start.signal * latents + start.noise * noise

    def _decode(self, latents):
        images = self._run("decoder", latents=latents[None].astype(np.float32))["images"][0]
        return np.floor(np.clip(images * 127.5 + 127.5, 0.0, 255.0) + 0.5).astype(np.uint8)


def read_manifest(folder):
    """The manifest of an exported folder whose files have been checked."""
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{folder} is no exported folder: manifest.json can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    found = (manifest.get("format"), manifest.get("version")) if isinstance(manifest, dict) else manifest
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(f"{file} is not {FORMAT} version {FORMAT_VERSION}. Received: {found}")

    def need(place):
        try:
            return functools.reduce(lambda value, key: value[key], place.split("/"), manifest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged: it lacks `{place}`") from error

    for place in NEEDED.split():
        need(place)
    for name in (part["file"] for part in (manifest["tokenizer"], *manifest["parts"].values())):
        path, size, digest = folder / name, need(f"files/{name}/bytes"), need(f"files/{name}/sha256")
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if path.stat().st_size != size:
            raise ValueError(f"{path} is truncated or swapped: {path.stat().st_size} bytes, not {size}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{path} is damaged or swapped: its SHA-256 is not {digest}")
    return manifest


# === Noise, time and samplers: the arithmetic of latentdiff.diffusion.noise, .noise_schedule and .samplers ===


def normal(seed, shape):
    """Gaussian noise float32 of a shape: the first noise of `latentdiff.diffusion.noise.normal` for this seed."""

    def mix(bits):
        bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B)
        bits = (bits ^ (bits >> np.uint32(13))) * np.uint32(0xC2B2AE35)
        return bits ^ (bits >> np.uint32(16))

    keys = mix(np.array([seed], np.uint32) + mix(np.ones(1, np.uint32)))
    index = np.arange(math.prod(shape), dtype=np.uint32) * np.uint32(0x61C88647)
    first = mix(mix(keys + index) + keys)
    pair = ((bits >> np.uint32(9)).astype(np.float32) for bits in (first, mix(first + np.uint32(0x6A09E667))))
    radius, angle = ((bits + np.float32(0.5)) * np.float32(2.0**-23) for bits in pair)  # in (0, 1)
    return (np.sqrt(-2.0 * np.log(radius)) * np.cos(np.float32(2.0 * math.pi) * angle)).reshape(shape)


class Moment:
    """A timestep with its signal rate, its noise rate and log_snr, the log of their ratio."""

    def __init__(self, timestep, signal, noise):
        self.timestep, self.signal, self.noise = timestep, signal, noise
        self.log_snr = (math.log(signal) if signal > 0 else -math.inf) - (math.log(noise) if noise > 0 else -math.inf)


class Schedule:
    """Rates over time, as `latentdiff.NoiseSchedule` has them."""

    def __init__(self, num_train_timesteps, preserves_variance, signal_positions, noise_positions):
        self.num_train_timesteps = num_train_timesteps
        self.preserves_variance = preserves_variance
        self.positions = (signal_positions, noise_positions)

    def moment(self, timestep):
        """The `Moment` at a timestep in [-1, num_train_timesteps - 1], whole or not."""
        place = min(max(timestep + 1.0, 0.0), float(self.num_train_timesteps))
        below = int(place)
        above = min(below + 1, self.num_train_timesteps)
        rates = [table[below] + (table[above] - table[below]) * (place - below) for table in self.positions]
        return Moment(timestep, *(map(math.sin, rates) if self.preserves_variance else rates))

    def split(self, prediction, latents, here, prediction_type):
        """The clean latents and the noise that a prediction means."""
        if prediction_type == "noise":
            return (latents - here.noise * prediction) / here.signal, prediction
        if prediction_type == "latents":
            return prediction, (latents - here.signal * prediction) / here.noise
        of_noise, of_latents = (here.signal, here.noise) if self.preserves_variance else (1.0, 1.0)
        determinant = here.signal * of_noise + here.noise * of_latents
        pred_latents = (of_noise * latents - here.noise * prediction) / determinant
        return pred_latents, (of_latents * latents + here.signal * prediction) / determinant


class Places:
    """The way from noise to data: 0 is pure noise, `num_steps` the clean latents; `first` is where to begin."""

    def __init__(self, spacing, num_steps, strength, schedule):
        self.spacing, self.num_steps, self.schedule = spacing, num_steps, schedule
        self.first = float(np.float32(num_steps * (1.0 - strength)))
        self.count = num_steps - int(self.first)

    def steps(self):
        """The two `Moment`s of each step."""
        for whole in range(int(self.first), self.num_steps):
            yield self.moment(max(self.first, whole)), self.moment(whole + 1)

    def moment(self, place):
        """The `Moment` at a place, between whole places in between."""
        below = int(place)
        low, high = self._timestep(below), self._timestep(below + 1)
        return self.schedule.moment(low + (high - low) * (place - below))

    def _timestep(self, index):
        if index >= self.num_steps:
            return -1.0
        total, remaining = self.schedule.num_train_timesteps, self.num_steps - index
        if self.spacing == "trailing":
            return math.floor(np.float32(remaining * total) / np.float32(self.num_steps) + np.float32(0.5)) - 1.0
        if self.spacing == "leading":
            return (remaining - 1.0) * math.floor(total / self.num_steps)
        return math.floor((remaining - 1.0) / max(self.num_steps - 1.0, 1.0) * (total - 1.0) + 0.5)


def ddim_step(pred_latents, pred_noise, history, here, there):
    """Song et al., arXiv:2010.02502, equation 12."""
    return there.signal * pred_latents + there.noise * pred_noise, None


def dpmpp_2m_step(pred_latents, pred_noise, history, here, there):
    """Lu et al., arXiv:2211.01095, algorithm 2. The history is the last step's clean latents and log_snr."""
    ahead = pred_latents
    if history is not None and math.isfinite(history[1]) and math.isfinite(there.log_snr):
        ratio = (there.log_snr - here.log_snr) / (here.log_snr - history[1])
        ahead = pred_latents + 0.5 * ratio * (pred_latents - history[0])
    kept = here.signal * there.noise / (there.signal * here.noise)
    moved = there.signal * (kept * pred_latents + (1.0 - kept) * ahead) + there.noise * pred_noise
    return moved, (pred_latents, here.log_snr)


# === Files and the command line ===


def load_image(path, image_size):
    """What `latentdiff.data.images.load_picture` makes of a picture file: a uint8 array of the size (height, width)."""
    height, width = image_size
    image = ImageOps.exif_transpose(Image.open(path))
    if abs(image.width * height / image.height - width) >= 0.5:
        raise ValueError(f"{path} must have the proportions of {width} x {height} pixels: crop it first")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"{path} must have 8 or 16 bits a channel, but is of Pillow's mode {image.mode}")
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def main(argv=None):
    """Makes one picture, see --help; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes a picture from words.", allow_abbrev=False)
    add = parser.add_argument
    add("prompt", help="what the picture should show; quote it")
    add("--folder", type=Path, default=Path(__file__).parent, help="exported folder (default: that of this file)")
    add("--output", type=Path, help="a .png file (default: named after prompt and seed)")
    add("--negative-prompt", default="", help="what it should not show")
    add("--seed", type=int, help="the same seed gives the same picture (default: random)")
    add("--num-steps", type=int, help="sampling steps (default: the manifest's)")
    add("--guidance-scale", type=float, help="how strictly to follow the prompt, at least 1 (default: the manifest's)")
    add("--sampler", choices=SAMPLERS, help="default: the manifest's")
    add("--image", type=Path, help="a picture to start from")
    add("--strength", type=float, default=0.8, help="how much of --image is made anew, 0 to 1 (default: 0.8)")
    add("--num-threads", type=int, help="processor threads (default: one for each core at hand)")
    args = vars(parser.parse_args(argv))
    try:
        sys.stdout.write(f"{_generate(**args)}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        return 1
    return 0


def _generate(folder, output, num_threads, image, seed, **settings):
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    slug = re.sub(r"[^a-z0-9]+", "-", settings["prompt"].lower()).strip("-")[:50] or "picture"
    output = Path(f"{slug}-seed-{seed}.png") if output is None else output
    pipeline = EdgePipeline(folder, num_threads)
    image = image and load_image(image, pipeline.manifest["image_size"])

    def show(step, count, decode):
        if sys.stderr.isatty():
            sys.stderr.write(f"\rstep {step} of {count}" + ("\n" if step == count else ""))

    picture = pipeline.generate(**settings, seed=seed, image=image, callback=show)
    text = PngImagePlugin.PngInfo()
    for name, value in {**settings, "seed": seed}.items():
        if value is not None:
            text.add_itxt(name, str(value))
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(output, "PNG", pnginfo=text)
    return output


if __name__ == "__main__":
    sys.exit(main())
