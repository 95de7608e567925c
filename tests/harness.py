"""Checks that every layer and model must pass, and tiny stand-ins for the large parts."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from latentdiff import Autoencoder, DiT, LatentDiffusion, NoiseSchedule, TextEncoder, TextToImage, UNet
from latentdiff.models.compilation import compile_function

GOLDEN = Path(__file__).parent / "golden"
EXPORTED = ("ddim", "dpmpp_2m", "euler_ancestral")  # samplers of the folder of LiteRT files that most tests share
WORDS = ["a", "the", "red", "green", "blue", "apple", "rocket", "cat", "smiling", "flat", "small", "and"]

needs_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")


# === Checks ===


def randomize(model, seed=0, scale=0.3):
    """Gives each float weight random numbers, so that layers which start as zeros or as the identity matter too."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "float" in variable.dtype and "latent_" not in variable.path:
            spread = scale if len(variable.shape) < 2 else scale * (4.0 / np.prod(variable.shape[:-1])) ** 0.5
            values = spread * rng.standard_normal(variable.shape)
            is_scale = variable.path.endswith(("scale", "gamma"))
            variable.assign((values + 1.0 if is_scale else values).astype("float32"))
    return model


def arrays(outputs):
    return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def assert_close(first, second, tolerance=1e-5):
    first, second = keras.tree.flatten(arrays(first)), keras.tree.flatten(arrays(second))
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def largest_change(before, after):
    """The largest absolute difference between two lists of arrays."""
    return max(np.abs(one - other).max() for one, other in zip(before, after, strict=True))


def check_config(layer):
    """`get_config` has every argument of the constructor, and `from_config` brings it back."""
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    accepted = set(layer.get_config()) - {"name", "trainable", "dtype"}
    code = type(layer).__init__.__code__
    own = set(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]) - {"name", "trainable", "dtype"}
    assert own <= accepted, f"missing in get_config: {own - accepted}"
    return copy


def check_save(model, call, tmp_path):
    """Saved as `.keras` and loaded, it answers the same."""
    before = arrays(call(model))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert_close(before, call(loaded), 1e-6)
    return loaded


def check_bfloat16(make, call, tolerance=0.1):
    """Under mixed_bfloat16 it keeps float32 weights and gives nearly the same as under float32."""
    plain, mixed = randomize(make("float32")), randomize(make("mixed_bfloat16"))
    assert all(variable.dtype == "float32" for variable in mixed.trainable_variables)
    expected, received = arrays(call(plain)), ops.convert_to_numpy(ops.cast(call(mixed), "float32"))
    assert np.abs(received - expected).max() < tolerance * np.abs(expected).max()
    assert np.abs(received - expected).max() > 0  # it did compute in half precision


def check_compiled(function, model, *args, tolerance=1e-5):
    """Compiled (with XLA) it gives the same as eagerly."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(function, jit_compile=True)
    else:
        compiled = compile_function(function, model)
    assert_close(function(*args), compiled(*args), tolerance)


def check_layer(make, *inputs, tolerance=1e-5, bfloat16=0.1):
    """All of the above for a layer made by `make(dtype)` and called with `inputs`; returns its output."""
    layer = make("float32")
    output = layer(*inputs)
    assert tuple(output.shape) == tuple(layer.compute_output_shape(*[value.shape for value in inputs]))
    randomize(layer)
    expected = layer(*inputs)

    copy = check_config(layer)
    copy(*inputs)
    for variable, value in zip(copy.variables, layer.variables, strict=True):
        assert variable.shape == value.shape
        variable.assign(value)
    assert_close(copy(*inputs), expected, 0.0)

    check_compiled(layer, layer, *inputs, tolerance=tolerance)

    def call(layer):
        return layer(*inputs)

    if layer.variables:
        mixed = make("mixed_bfloat16")
        mixed(*inputs)
        for variable, value in zip(mixed.variables, layer.variables, strict=True):
            variable.assign(value)
        received = ops.convert_to_numpy(ops.cast(mixed(*inputs), "float32"))
        assert 0 < np.abs(received - arrays(expected)).max() < bfloat16 * np.abs(arrays(expected)).max()
    return expected


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def gap(first, second):
    """The largest difference of two arrays of images, in levels."""
    first, second = np.asarray(first, "int32"), np.asarray(second, "int32")
    assert first.shape == second.shape
    return np.abs(first - second).max()


def compile_quietly(model, **kwargs):
    """`compile` for a fit of a few steps: eager on TensorFlow, where tracing takes as long as twenty of them."""
    model.compile(**kwargs, **({"run_eagerly": True} if keras.backend.backend() == "tensorflow" else {}))
    return model


def first_fast(cases, count=1):
    """Cases of `pytest.mark.parametrize`: the first `count` of them run by default, the others are slow tests."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*case, marks=[pytest.mark.slow] * (index >= count)) for index, case in enumerate(cases)]


# === Tiny parts ===


def tiny_text_encoder(sequence_length=8, trainable=False, dropout=0.0):
    import keras_hub

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(97 + index) for index in range(26)]
    vocabulary = [*special, *WORDS, *[letter for letter in letters if letter not in WORDS]]
    vocabulary += [f"##{letter}" for letter in letters]
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=12,
        intermediate_dim=16,
        dropout=dropout,
        max_sequence_length=32,
    )
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=vocabulary, lowercase=True)
    return TextEncoder(backbone, tokenizer, sequence_length, trainable, separator_id=vocabulary.index("and"))


def tiny_autoencoder(**changes):
    settings = {
        "latent_channels": 3,
        "widths": (8,),
        "num_blocks": 1,
        "patch_size": 2,
        "middle_attention": False,
        "groups": 4,
        "perceptual_weight": 0.0,
    }
    return Autoencoder(**{**settings, **changes})


def tiny_unet(**changes):
    settings = {
        "latent_shape": (4, 4, 3),
        "context_dim": 12,
        "widths": (8,),
        "num_blocks": 1,
        "attention_levels": (),
        "num_heads": 2,
        "groups": 4,
        "pool_context": True,
    }
    return UNet(**{**settings, **changes})


def tiny_dit():
    return DiT((4, 4, 3), 12, width=8, depth=1, num_heads=2, patch_size=2)


def tiny_latent_diffusion(text_encoder=None, autoencoder=None, unet=None, **settings):
    """8 x 8 pixels, 4 x 4 latents; all weights random, none zero."""
    parts = (autoencoder or tiny_autoencoder(), text_encoder or tiny_text_encoder(), unet or tiny_unet())
    model = randomize(LatentDiffusion(*parts, **{"noise_schedule": NoiseSchedule("scaled_linear"), **settings}))
    for variable in model.unet.variables:  # a prompt that hardly matters would let every test of it pass
        if "cross_attention" in variable.path or "pool_dense" in variable.path:
            variable.assign(10.0 * variable)
    return model


def tiny_text_to_image(**settings):
    return TextToImage(tiny_latent_diffusion(**settings), num_steps=3, guidance_scale=2.0)


def part_answers(pipeline):
    """What each part of a tiny preset says to fixed inputs, by name."""
    model = pipeline.model
    context, context_mask = model.text_encoder.encode(["a red apple", "zebra"])
    inputs = {"noisy_latents": normal(0, 2, 4, 4, 3), "timesteps": np.array([5.0, 800.0], "float32")}
    inputs = {name: ops.convert_to_tensor(values) for name, values in inputs.items()}
    return {
        "context": context * ops.cast(context_mask, "float32")[:, :, None],
        "prediction": model.unet({**inputs, "context": context, "context_mask": context_mask}),
        "latents": model.autoencoder.encode(np.tanh(normal(1, 2, 8, 8, 3))),
        "decoded": model.autoencoder.decode(normal(2, 2, 4, 4, 3)),
    }


def preset_pictures(pipeline):
    return pipeline.generate(["a red apple", "zebra"], seed=7)
