"""The side of `benchmarks.full_size` that is this package, on JAX."""

import functools

import jax
import keras
import numpy as np
from keras import ops

from benchmarks.full_size_shapes import (
    BATCH,
    CHANNELS,
    MOMENTUM,
    RANK,
    RATE,
    SCALE,
    SIDE,
    STEPS,
    TOKENS,
    TRAINING_STEPS,
    WIDTH,
    XL_SIDE,
    XL_WIDTH,
    median_seconds,
)
from latentdiff import Autoencoder, LatentDiffusion, NoiseSchedule
from latentdiff.diffusion.samplers import DDIM
from latentdiff.models.compilation import compile_function
from latentdiff.models.sizes import build_network
from latentdiff.models.words import Words
from latentdiff.pipelines.loop import make_denoiser


class TextFeatures(keras.Model):
    """Stands for the text encoder, whose features are given here."""

    word_layers = ()

    def __init__(self):
        super().__init__()
        self.words = Words(self)

    def conditioning_spec(self, num_tokens=None):
        specs = {"context": ("float32", (None, TOKENS, WIDTH)), "context_mask": ("bool", (None, TOKENS))}
        return {name: keras.InputSpec(dtype=dtype, shape=shape) for name, (dtype, shape) in specs.items()}

    def tokenize(self, prompts):
        return np.zeros((len(prompts), TOKENS), "int32")

    def condition(self, token_ids, training=False):
        count = ops.shape(token_ids)[0]
        return {"context": ops.zeros((count, TOKENS, WIDTH)), "context_mask": ops.ones((count, TOKENS), "bool")}


def versions():
    return {"keras": keras.__version__, "jax": jax.__version__}


@functools.cache
def model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    unet, autoencoder = build_network("sd15", (SIDE, SIDE, CHANNELS), WIDTH, TOKENS), Autoencoder(CHANNELS)
    return LatentDiffusion(autoencoder, TextFeatures(), unet, NoiseSchedule("scaled_linear"), "noise")


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def conditioning(batch):
    return {"context": normal(batch, TOKENS, WIDTH), "context_mask": np.ones((batch, TOKENS), bool)}


def call():
    return seconds_of_call(model().network)


def xl():
    keras.config.set_dtype_policy("mixed_bfloat16")
    return seconds_of_call(build_network("sdxl", (XL_SIDE, XL_SIDE, CHANNELS), XL_WIDTH, TOKENS))


def seconds_of_call(network):
    inputs = {name: normal(2, *each.shape[1:]) for name, each in network.input.items()}
    inputs |= {"timesteps": np.full(2, 500.0, "float32"), "context_mask": np.ones((2, TOKENS), bool)}
    compiled, inputs = compile_function(network, network), jax.device_put(inputs)
    return median_seconds(lambda: jax.block_until_ready(compiled(inputs)), 20)


def image():
    def draw(text, noise):
        denoiser = make_denoiser(model(), text, (ops.full((1,), SCALE), ops.zeros((1,)), None))
        places = ops.full((1,), STEPS, "int32"), ops.zeros((1,), "int32")
        latents = DDIM().sample(denoiser, model().noise_schedule, noise, *places)
        return model().autoencoder.decode(latents)

    compiled = compile_function(draw, model())
    inputs = jax.device_put((conditioning(2), normal(1, SIDE, SIDE, CHANNELS)))
    return median_seconds(lambda: jax.block_until_ready(compiled(*inputs)), 5)


def training():
    """Of two lengths of `fit` the difference, since each begins and ends with copies of all weights."""
    model().compile(keras.optimizers.AdamW(RATE, use_ema=True, ema_momentum=MOMENTUM))
    short, long = (seconds_of_fit(BATCH * TRAINING_STEPS * factor) for factor in (1, 4))
    return (long - short) / (3 * TRAINING_STEPS)


def lora():
    model().lora.add("lora", rank=RANK, targets="attention")
    seconds = training()
    model().lora.remove("lora")
    return seconds


def seconds_of_fit(rows):
    data = {"latents": normal(rows, SIDE, SIDE, CHANNELS), **conditioning(rows)}
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    return median_seconds(lambda: model().fit(data, **options), 2)
