"""What all figures share: the model, real images, and the output folder."""

import functools
import json
import warnings
from pathlib import Path

import numpy as np
from keras import ops

from latentdiff.diffusion import noise
from latentdiff.explain.style import save_figure
from latentdiff.models.compilation import compile_function
from latentdiff.models.pixels import to_float, to_uint8
from latentdiff.pipelines import prompt_weights
from latentdiff.settings.prompt_syntax import parse
from latentdiff.whole_files import write_text

BATCH_SIZE = 16
# The shipped preset has seen all but three: robots, but not in this style; crowns, but on heads alone; no owl at all.
# The first leaves the style open.
PROMPTS = (
    "flower",
    "red apple, 3d",
    "grinning cat, flat",
    "police car, twemoji",
    "snowman, noto",
    "sunflower, gradient",
    "robot, emojitwo",
    "soccer ball, flat",
    "owl, noto",
    "crown, twemoji",
    "jack-o-lantern, 3d",
    "tropical fish, gradient",
    "house with garden, flat",
    "smiling face with sunglasses, noto classic",
    "rocket, black and white",
    "gem stone, noto",
)


class Lesson:
    """A model to explain, and the data to explain it with.

    Args:
        pipeline: a `TextToImage`.
        output: folder of the figures.
        real: `RealImages`, or None: generated images then stand in for real ones.
        features: function from uint8 images to features (n, dim), or None: curves that need it are left out.
        prompts: of the figures.
        seed: of all noise.
        count: images per point of a curve.
    """

    def __init__(self, pipeline, output, real=None, features=None, prompts=PROMPTS, seed=7, count=16):
        self.pipeline = pipeline
        self.output = Path(output)
        self.real = real
        self.features = features
        self.prompts = list(prompts)
        self.seed = seed
        self.count = count
        autoencoder = pipeline.model.autoencoder
        self._encode_text = compile_function(pipeline.encode_text, pipeline.model)
        self._encode = compile_function(autoencoder.encode, pipeline.model)
        self._decode = compile_function(lambda latents: to_uint8(autoencoder.decode(latents)), pipeline.model)

    def generate(self, prompts, seeds, **settings):
        """uint8 images (n, height, width, 3), with the preset's settings unless `settings` replace them."""
        return self.pipeline.generate(list(prompts), seed=[int(seed) for seed in seeds], **settings)

    def encode_prompts(self, prompts):
        """The conditioning and the shares of prompts, as `Pipeline.denoiser` takes them."""
        parsed = [parse(prompt) for prompt in prompts]
        return prompt_weights.encode(parsed, self.pipeline.model.text_encoder, self._encode_text)

    def encode(self, images):
        """uint8 (n, height, width, 3) -> float32 latents (n, h, w, channels)."""
        return in_batches(lambda batch: self._encode(to_float(batch)), images)

    def decode(self, latents):
        """float32 (n, h, w, channels) -> uint8 images (n, height, width, 3)."""
        return in_batches(self._decode, np.asarray(latents, "float32"))

    def initial_noise(self, count):
        """Initial noise of the seeds from `seed` on, float32 (count, h, w, channels)."""
        return ops.convert_to_numpy(noise.normal(self.seed + np.arange(count), self.pipeline.latent_shape))

    def subjects(self, count):
        """(images, captions, whether they are real): held-out real images, or generated ones with their prompts.

        Captions of real images are plain text, without prompt syntax.
        """
        if self.real is not None:
            rows = self.real.held_out(count, self.seed)
            return self.real.images[rows], [self.real.captions[row] for row in rows], True
        prompts = self.prompts[:count]
        return self.generate(prompts, self.seed + np.arange(len(prompts))), prompts, False

    @functools.cached_property
    def real_features(self):
        """Features (n, dim) of all real images."""
        return self.features(self.real.images)

    def can_measure(self, what):
        """Whether there are real images and features; otherwise warns that `what` is left out."""
        if self.real is not None and self.features is not None:
            return True
        warnings.warn(f"{what} is left out: it needs --data and --metrics", stacklevel=2)
        return False

    def save(self, figure, name, numbers, **options):
        """Writes NAME.png and its numbers as NAME.json; returns the paths."""
        path = save_figure(figure, self.output / f"{name}.png", **options)
        record = path.with_suffix(".json")
        write_text(record, json.dumps(numbers, indent=1, default=_plain) + "\n")
        return [path, record]


def in_batches(function, array):
    """`function` of the rows of an array, some at a time; a numpy array."""
    starts = range(0, len(array), BATCH_SIZE)
    return np.concatenate([ops.convert_to_numpy(function(array[start : start + BATCH_SIZE])) for start in starts])


def _plain(value):
    """numpy numbers and arrays as JSON knows them, to six digits."""
    if np.ndim(value):
        return [_plain(entry) for entry in value]
    return int(value) if isinstance(value, (int, np.integer)) else float(f"{value:.6g}")
