import keras
import numpy as np
import pytest
from golden.weights import dit_name, fill
from harness import (
    GOLDEN,
    arrays,
    assert_close,
    check_bfloat16,
    check_compiled,
    check_config,
    check_save,
    compile_quietly,
    gap,
    needs_tensorflow,
    normal,
    randomize,
    tiny_latent_diffusion,
)

from latentdiff import DiT, ImageToImage, TextToImage

SMALL = {"latent_shape": (4, 4, 3), "context_dim": 12, "width": 16, "depth": 2, "num_heads": 2, "patch_size": 2}
DATA = {"latents": normal(3, 4, 4, 4, 3), "captions": ["a red apple", "a cat", "", "the small rocket"]}


def small(**changes):
    return DiT(**{**SMALL, **changes})


def inputs(batch=2, tokens=3, mask=None, size=(4, 4)):
    values = {
        "noisy_latents": normal(0, batch, *size, 3),
        "timesteps": np.linspace(10, 900, batch, dtype="float32"),
        "context": normal(1, batch, tokens, 12),
        "context_mask": np.ones((batch, tokens), "bool") if mask is None else mask,
    }
    return {name: keras.ops.convert_to_tensor(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def network():
    return randomize(small())


@pytest.fixture(scope="module")
def trained():
    """A pipeline around a network that was trained for a step, and got random weights."""
    model = compile_quietly(tiny_latent_diffusion(unet=small()), optimizer=keras.optimizers.SGD(0.05))
    before = model.network.get_weights()
    assert np.isfinite(model.fit(DATA, verbose=0, batch_size=2).history["loss"]).all()
    moved = [np.abs(one - other).max() > 0 for one, other in zip(before, model.network.get_weights(), strict=True)]
    assert np.mean(moved) > 0.8
    randomize(model.network)
    return TextToImage(model, num_steps=3, guidance_scale=2.0)


# === Contract ===


@pytest.mark.parametrize("changes", [{}, {"pool_context": False, "num_tokens": 5, "expansion": 2}])
def test_config(changes):
    check_config(small(**changes))


def test_save(tmp_path):
    check_save(randomize(small()), lambda model: model(inputs()), tmp_path)


@pytest.mark.slow
def test_compiled_equals_eager(network):
    check_compiled(network, network, inputs(), tolerance=1e-4)


def test_bfloat16():
    check_bfloat16(lambda dtype: small(dtype=dtype), lambda model: model(inputs()))


def test_fresh_weights_predict_nothing():
    np.testing.assert_array_equal(arrays(small()(inputs())), 0.0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"latent_shape": (4, 5, 3)}, "`latent_shape` must have sides divisible by `patch_size`"),
        ({"num_heads": 3}, "`width` must be divisible by 4 and by `num_heads`"),
        ({"width": 18}, "`width` must be divisible by 4"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


# === Laws ===


def test_padding_is_never_looked_at(network):
    mask = np.array([[True, True, False], [True, False, False]])
    first = inputs(mask=mask)
    garbage = np.where(mask[..., None], arrays(first["context"]), 1e3 * normal(9, 2, 3, 12))
    second = {**first, "context": keras.ops.convert_to_tensor(garbage.astype("float32"))}
    assert_close(network(first), network(second), 1e-5)


def test_rows_are_independent_and_every_input_matters(network):
    plain = arrays(network(inputs()))
    alone = {name: value[1:] for name, value in inputs().items()}
    assert_close(network(alone), plain[1:], 1e-5)
    for name in ("noisy_latents", "timesteps", "context"):
        changed = {**inputs(), name: inputs()[name] * 0.5 + 0.1}
        assert np.abs(arrays(network(changed)) - plain).max() > 1e-3, name


def test_places_are_told_apart(network):
    """Without its position embedding a transformer would permute its answer along with the patches."""
    values = inputs()
    flipped = {**values, "noisy_latents": values["noisy_latents"][:, ::-1, ::-1]}
    plain, answer = arrays(network(values)), arrays(network(flipped))
    assert np.abs(answer[:, ::-1, ::-1] - plain).max() > 1e-2


def test_any_size():
    """One network for all sizes gives what one that was built for the size gives."""
    free = randomize(small(latent_shape=(None, None, 3)))
    for size in ((4, 4), (6, 8)):
        fixed = small(latent_shape=(*size, 3))
        fixed.set_weights(free.get_weights())
        values = inputs(size=size)
        assert_close(free(values), fixed(values), 1e-5)
        assert free(values).shape == (2, *size, 3)


# === Golden ===


def test_it_answers_as_diffusers_does():
    golden = np.load(GOLDEN / "dit.npz")
    network = small(latent_shape=(8, 8, 3), pool_context=False)
    names = fill(network, dit_name)
    assert sorted(names) == golden["names"].tolist()
    values = {name: golden[name] for name in ("noisy_latents", "timesteps", "context")}
    values["context_mask"] = golden["context_mask"] > 0
    received = arrays(network({name: keras.ops.convert_to_tensor(value) for name, value in values.items()}))
    assert golden["prediction"].std() > 0.1
    np.testing.assert_allclose(received, golden["prediction"], rtol=1e-4, atol=1e-5)


# === In place of the U-Net ===


@pytest.mark.slow
def test_it_draws_and_edits(trained):
    pictures = trained.generate(["a red apple", "a cat"], seed=1)
    assert pictures.shape == (2, 8, 8, 3) and gap(pictures[0], pictures[1]) > 2
    assert gap(trained.generate("a cat", seed=1), pictures[1]) <= 2
    image = np.full((8, 8, 3), 90, "uint8")
    edited = ImageToImage.from_pipeline(trained).generate("a cat", images=image, seed=1)
    assert edited.shape == (8, 8, 3)


@pytest.mark.slow
def test_its_preset_opens(trained, tmp_path):
    trained.save_to_preset(tmp_path / "preset")
    opened = TextToImage.from_preset(tmp_path / "preset")
    assert type(opened.model.network) is DiT
    np.testing.assert_array_equal(opened.generate("a cat", seed=1), trained.generate("a cat", seed=1))


@pytest.mark.slow
@needs_tensorflow
def test_it_is_exported(trained, tmp_path):
    """Both exports check that their files answer as Keras does, and that they hold no operator that is not builtin."""
    trained.export(tmp_path / "1")
    trained.export_litert(tmp_path / "edge", num_tokens=6)
    assert (tmp_path / "edge" / "denoiser.tflite").is_file()
