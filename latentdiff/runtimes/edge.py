"""Makes images from prompts with a folder of LiteRT files, without TensorFlow and Keras.

In an exported folder this one file is `generate.py`: python generate.py "a red apple, 3d" --seed 7
"""

import argparse
import difflib
import functools
import hashlib
import json
import math
import operator
import os
import re
import secrets
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

FORMAT, FORMAT_VERSION, DRAWN_SEEDS = "latentdiff-litert", 2, 1_000_000  # seeds that are drawn lie below
NEEDED = """image_size latent_shape settings samplers files tokenizer/file tokenizer/num_tokens tokenizer/start_id
    tokenizer/end_id tokenizer/pad_id parts/text_encoder/file parts/denoiser/file parts/decoder/file
    parts/encoder/file"""  # of a manifest; keys that are not known here are passed over
NUMBER = r":\s*-?[\d.]+(?:e[+-]?\d+)?\s*"
WEIGHTED = re.compile(rf"(?is)(?<!\\)\(.*{NUMBER}\)|{NUMBER}(?<!\\)\|")  # `(red:1.3)`, `cat:0.5 | dog:0.5`
OPTIONS = {"int": {"type": int}, "float": {"type": float}, "bool": {"action": "store_true", "default": None}}
OPTIONS["interval"] = {"type": float, "nargs": 2, "metavar": ("LOW", "HIGH")}
KINDS = {"str": str, "int": operator.index, "float": float, "bool": bool, "interval": lambda x: tuple(map(float, x))}


class EdgePipeline:
    """Text to image, image to image and inpainting; `num_threads` is by default the number of cores at hand."""

    def __init__(self, folder, num_threads=None):
        from tokenizers import Tokenizer

        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.settings = {row["name"]: row for row in self.manifest["settings"]}
        self.tokenizer = Tokenizer.from_file(str(self.folder / self.manifest["tokenizer"]["file"]))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._num_threads = cores if num_threads is None else num_threads
        self._runners = {}
        self._encode_text = functools.lru_cache(8)(lambda x: self._run("text_encoder", token_ids=self.tokenize(x)))

    def generate(self, prompts, *, images=None, masks=None, num_images=1, callback=None, **settings):
        """Images of what the prompts say, those of `latentdiff generate`: uint8 (number of images, height, width, 3),
        for one str and one image (height, width, 3). What is wrong with a setting or a prompt raises ValueError.

        Args:
            prompts: str, or list of str.
            images: optional uint8 array (height, width, 3) to start from, or one for each prompt.
            masks: optional, with `images`: bool array (height, width), True where to paint, or one for each prompt.
            num_images: images per prompt; image k of a prompt takes seed + k.
            callback: optional function (step, num_steps, decode), called after each step; `decode()` gives the image.
            settings: those of the manifest (`generate.py --help` lists them), one value or one for each prompt; None
                is the default. Without `seed` each prompt gets a fresh one.
        """
        texts, size = [prompts] if isinstance(prompts, str) else list(prompts), tuple(self.manifest["image_size"])
        inputs = {"images": images is not None, "masks": masks is not None}
        if operator.index(num_images) < 1 or not texts:
            raise ValueError(f"`prompts` and `num_images` must be at least one. Received: {prompts=}, {num_images=}")
        for name, value in settings.items():
            if name not in self.settings:
                near = difflib.get_close_matches(name, self.settings, 1) or [", ".join(self.settings)]
                raise ValueError(f"Unknown setting, the nearest is {near[0]}. Received: {name!r}")
            if value is not None and not inputs.get(self.settings[name]["needs"], True):
                raise ValueError(f"`{name}` needs `{self.settings[name]['needs']}`. Received: {name}={value!r}")
        if inputs["masks"] and settings.get("strength") is None:
            settings["strength"] = 1.0  # what is under a mask is forgotten
        settings["prompts"], made = texts, []
        columns = [_column(row, settings.get(name), len(texts)) for name, row in self.settings.items()]
        columns += [_each_array("images", images, len(texts), (*size, 3), "uint8")]
        columns += [_each_array("masks", masks, len(texts), size, "bool")]
        for *values, image, mask in zip(*columns, strict=True):
            row = dict(zip(self.settings, values, strict=True))
            seed = secrets.randbelow(DRAWN_SEEDS) if row["seed"] is None else row["seed"]
            for row["seed"] in range(seed, _checked(self.settings["seed"], seed + num_images - 1) + 1):
                made.append(self._image(row, image, mask, callback))
        return made[0] if isinstance(prompts, str) and num_images == 1 else np.stack(made)

    def _image(self, row, image, mask, callback):
        """One image, uint8 (height, width, 3)."""
        num_steps, shape = row["num_steps"], self.manifest["latent_shape"]
        texts = [self._encode_text(row[name]) for name in ("prompts", "negative_prompts")]
        values = row | {name: np.concatenate([text[name] for text in texts]) for name in texts[0]}
        values |= {"first_step": 0.0, "latents": np.zeros(shape), "repaint": np.ones((*shape[:2], 1))}
        if image is not None:
            values |= self._run("encoder", images=image / np.float32(127.5) - np.float32(1.0))
            values["first_step"] = num_steps * (1.0 - row["strength"])
        if mask is not None:  # latents that a mask touches are painted
            values["repaint"] = mask.reshape(shape[0], len(mask) // shape[0], shape[1], -1).any((1, 3))[..., None]
        files = self.manifest["samplers"][row["sampler"]]
        values |= self._run(files["start"], **values)
        first = int(values["step"][0])
        for step in range(first, num_steps):
            values |= self._run("denoiser", **values)
            values |= self._run(files["advance"], **values)
            if callback:
                callback(step + 1 - first, num_steps - first, functools.partial(self._decode, values["noisy_latents"]))
        made = self._decode(values["noisy_latents"])
        return np.where(mask[..., None], made, image) if mask is not None and row["keep_pixels"] else made

    def _run(self, part, **values):
        """What the file of a part answers to those of the values that it takes, each in the shape of its input."""
        from ai_edge_litert.interpreter import Interpreter

        told = self.manifest["parts"][part]
        if part not in self._runners:  # opened when first needed
            made = Interpreter(model_path=str(self.folder / told["file"]), num_threads=self._num_threads)
            self._runners[part] = made.get_signature_runner()
        arrays = {k: np.broadcast_to(np.asarray(values[k], x["dtype"]), x["shape"]) for k, x in told["inputs"].items()}
        return self._runners[part](**{name: np.ascontiguousarray(array) for name, array in arrays.items()})

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

    def _decode(self, latents):
        images = self._run("decoder", latents=latents)["images"][0]
        return np.floor(np.clip(images * 127.5 + 127.5, 0.0, 255.0) + 0.5).astype(np.uint8)


def _column(row, value, count):
    """The checked value of a setting for each of `count` prompts: of one value, or of a list of one for each."""
    value = value.tolist() if hasattr(value, "tolist") else value
    pair = row["kind"] == "interval" and np.iterable(value) and all(np.isscalar(edge) for edge in value)
    values = value if isinstance(value, (list, tuple)) and not pair else [value] * count
    if len(values) != count:
        raise ValueError(f"`{row['name']}` must be one value, or one for each prompt. Received: {len(values)} values")
    return [row["default"] if one is None else _checked(row, one) for one in values]


def _checked(row, value):
    """A value as one of the kind and within the bounds of its setting; raises ValueError if it is none."""
    kind, low, high = row["kind"], row["low"], math.inf if row["high"] is None else row["high"]
    try:
        made = KINDS[kind](value)
        fits = isinstance(value, str) == (kind == "str") and isinstance(value, bool) == (kind == "bool")
        fits = fits and (low is None or all(low <= number <= high for number in np.ravel(made)))
        fits = fits and (kind != "interval" or (made[0] < made[1] and not made[2:]))
    except (TypeError, ValueError, IndexError):
        fits = False
    if not fits or made not in (row["choices"] or [made]):
        raise ValueError(f"`{row['name']}` must be {row['expected']}. Received: {row['name']}={value!r}")
    return made


def _each_array(name, arrays, count, shape, dtype):
    """An array for each of `count` prompts, or None for each."""
    found = None if arrays is None else np.asarray(arrays)
    if found is not None and (found.shape not in (shape, (count, *shape)) or found.dtype != dtype):
        raise ValueError(f"`{name}` must be {dtype} {shape}, or one a prompt. Received: {found.dtype} {found.shape}")
    return [None] * count if found is None else np.broadcast_to(found, (count, *shape))


def read_manifest(folder):
    """The manifest of an exported folder whose files have been checked."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        found = manifest["format"], manifest["version"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{folder} is no exported folder, or its manifest.json is damaged: {error!r}") from error
    if found != (FORMAT, FORMAT_VERSION):
        older = ", but older: run the generate.py that it carries, or export it again" if found == (FORMAT, 1) else ""
        raise ValueError(f"{folder} is not {FORMAT} version {FORMAT_VERSION}{older}. Received: {found}")

    def need(place):
        try:
            return functools.reduce(operator.getitem, place.split("/"), manifest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder}/manifest.json is damaged: it lacks `{place}`") from error

    needed = {place: need(place) for place in (*NEEDED.split(), *(f"parts/{part}/file" for part in need("parts")))}
    for name in (name for place, name in needed.items() if place.endswith("/file")):
        path, size, digest = folder / name, need(f"files/{name}/bytes"), need(f"files/{name}/sha256")
        if not path.is_file():
            raise ValueError(f"{path} is missing")
        if path.stat().st_size != size or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"{path} is truncated, damaged or swapped: {size} bytes of SHA-256 {digest} were written")
    return manifest


def load_image(path, image_size, mask=False):
    """What `load_picture`, or for a mask `load_mask`, of `latentdiff.data.images` makes of an image file."""
    height, width = image_size
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    if abs(image.width * height / image.height - width) >= 0.5:
        raise ValueError(f"{path} must have the proportions of {width} x {height} pixels: crop it first")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"{path} must have 8 or 16 bits a channel, but is of Pillow's mode {image.mode}")
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if mask:
        image = Image.fromarray((np.asarray(image).mean(axis=-1) >= 128).astype(np.float32))
        return np.asarray(image.resize((width, height), Image.Resampling.BOX)) > 0.0
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def main(argv=None):
    """Makes images, see --help; returns the exit code."""
    parser = argparse.ArgumentParser(description="Makes images from a prompt.", allow_abbrev=False, add_help=False)
    add = parser.add_argument
    add("--folder", type=Path, default=Path(__file__).parent, help="exported folder (default: that of this file)")
    add("--num-threads", type=int, help="processor threads (default: one for each core at hand)")
    try:
        pipeline = EdgePipeline(**vars(parser.parse_known_args(argv)[0]))
        add("-h", "--help", action="help", help="show this text")
        add("prompts", metavar="prompt", help=pipeline.settings["prompts"]["help"])
        for row in [row for name, row in pipeline.settings.items() if name != "prompts"]:
            told = f"{row['help']} (default: {'random' if row['drawn'] else row['default']})".replace("%", "%%")
            add(f"--{row['key'].replace('_', '-')}", dest=row["name"], help=told, **OPTIONS.get(row["kind"], {}))
        add("--image", type=Path, help="an image file to start from")
        add("--mask", type=Path, help="with --image: an image file, white where to paint")
        add("--num-images", type=int, default=1, help="images per prompt, from successive seeds (default: 1)")
        add("--output", type=Path, help="a .png file, for one image (default: named after prompt and seed)")
        for path in _generate(pipeline, **vars(parser.parse_args(argv))):
            sys.stdout.write(f"{path}\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        return 1
    return 0


def _generate(pipeline, folder, num_threads, output, image, mask, num_images, **settings):
    """Makes the images one by one; yields their files."""
    if output and (output.suffix.lower() != ".png" or num_images != 1):
        raise ValueError(f"--output must be a .png file, for one image. Received: {output} for {num_images}")
    arrays, size = {}, pipeline.manifest["image_size"]
    arrays |= {"images": image and load_image(image, size), "masks": mask and load_image(mask, size, mask=True)}
    arrays["callback"] = sys.stderr.isatty() and (lambda step, count, _: sys.stderr.write(f"\rstep {step} of {count} "))
    seed = secrets.randbelow(DRAWN_SEEDS) if settings["seed"] is None else settings["seed"]
    slug = re.sub(r"[^a-z0-9]+", "-", settings["prompts"].lower()).strip("-")[:50] or "image"
    for settings["seed"] in range(seed, seed + num_images):
        made, text = pipeline.generate(**settings, **arrays), PngImagePlugin.PngInfo()
        for name in [name for name in settings if settings[name] is not None]:
            text.add_itxt(pipeline.settings[name]["key"], str(settings[name]))
        path = output or Path(f"{slug}-seed-{settings['seed']}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made).save(draft := path.with_suffix(".draft"), "PNG", pnginfo=text)
        yield draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
