import keras
import numpy as np
import pytest
from golden import weights
from harness import (
    GOLDEN,
    arrays,
    assert_close,
    check_bfloat16,
    check_compiled,
    check_config,
    check_save,
    normal,
    randomize,
)

from latentdiff import UNet
from latentdiff.convert import names

SMALL = {"latent_shape": (4, 4, 3), "context_dim": 6, "widths": (8, 16), "num_blocks": 1, "num_heads": 2, "groups": 4}


def small(dtype=None, **changes):
    return UNet(**{**SMALL, "attention_levels": (1,), **changes}, dtype=dtype)


def inputs(batch=2, size=(4, 4), tokens=5, mask=None):
    return {
        "noisy_latents": normal(0, batch, *size, 3),
        "timesteps": np.linspace(3, 700, batch).astype("float32"),
        "context": normal(1, batch, tokens, 6),
        "context_mask": np.ones((batch, tokens), "bool") if mask is None else mask,
    }


@pytest.fixture(scope="module")
def pooled():
    """A model for tests that leave it as it is."""
    return randomize(small(pool_context=True))


# === Contract ===


@pytest.mark.parametrize("changes", [{}, {"linear_projection": True, "num_heads": (2, 4), "pool_context": True}])
def test_config(changes):
    unet = small(**changes)
    copy = check_config(unet)
    assert [variable.shape for variable in copy.weights] == [variable.shape for variable in unet.weights]


def test_save(tmp_path):
    check_save(randomize(small(activation="gelu_tanh")), lambda unet: unet(inputs()), tmp_path)


def test_bfloat16():
    check_bfloat16(lambda dtype: small(dtype), lambda unet: unet(inputs()))
    assert keras.backend.standardize_dtype(small("mixed_bfloat16")(inputs()).dtype) == "float32"


@pytest.mark.slow
def test_compiled_equals_eager(pooled):
    check_compiled(pooled, pooled, inputs())


def test_any_size():
    unet = small(latent_shape=(None, None, 3))
    for size in ((4, 4), (8, 2)):
        assert unet(inputs(size=size)).shape == (2, *size, 3)


def test_dropout_only_while_training():
    unet = randomize(small(dropout=0.5))
    assert_close(unet(inputs()), unet(inputs()), 1e-6)
    assert np.abs(arrays(unet(inputs(), training=True)) - arrays(unet(inputs()))).max() > 1e-3


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"attention_levels": (2,)}, "`attention_levels`"),
        ({"latent_shape": (4, 5, 3)}, "`latent_shape`"),
        ({"num_heads": (1, 2, 3)}, "`num_heads`"),
        ({"num_heads": 3}, "`num_heads` must divide the width"),
        ({"activation": "relu"}, "`activation`"),
        ({"groups": 3}, "`groups`"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        small(**arguments)


# === Laws ===


def test_fresh_network_predicts_zero():
    np.testing.assert_array_equal(arrays(small()(inputs())), 0.0)


def test_hidden_keys_never_matter(pooled):
    unet = pooled
    mask = np.array([[True, True, False, False, False], [True] * 5])
    first, second = inputs(mask=mask), inputs(mask=mask)
    second["context"][0, 2:] = 1e4 * normal(9, 3, 6)
    assert_close(unet(first), unet(second), 1e-6)
    second["context"][0, 1] += 1.0
    assert np.abs(arrays(unet(first))[0] - arrays(unet(second))[0]).max() > 1e-3
    # Nor does it matter how many there are.
    shorter = {**inputs(), "context": first["context"][:1, :2], "context_mask": mask[:1, :2]}
    shorter = {name: values[:1] for name, values in shorter.items()}
    assert_close(unet(shorter), unet(first)[:1], 1e-5)


def test_rows_do_not_meet(pooled):
    batch = inputs(3)
    alone = {name: values[1:2] for name, values in batch.items()}
    assert_close(pooled(batch)[1:2], pooled(alone), 1e-5)


def test_each_input_matters(pooled):
    before = arrays(pooled(inputs()))
    for name in ("noisy_latents", "timesteps", "context"):
        changed = inputs()
        changed[name] = changed[name] + 1.0
        assert np.abs(arrays(pooled(changed)) - before).max() > 1e-3


def test_transformers_of_each_level():
    unet = UNet((8, 8, 4), 12, None, (8, 16, 16), 1, (0, 1), 2, transformer_depth=(1, 3, 2), groups=4)
    depths = {layer.name: len(layer.blocks) for layer in unet.layers if layer.name.endswith("transformer")}
    assert depths["down_0_0_transformer"] == depths["up_0_1_transformer"] == 1
    assert depths["down_1_0_transformer"] == depths["up_1_0_transformer"] == 3
    assert depths["middle_transformer"] == 2
    assert UNet.from_config(unet.get_config()).transformer_depth == (1, 3, 2)
    with pytest.raises(ValueError, match="`transformer_depth` must be one number or one for each"):
        UNet((8, 8, 4), 12, widths=(8, 16), attention_levels=(), transformer_depth=(1, 2, 3), groups=4)


# === Golden ===


@pytest.mark.parametrize("version", ["sd15", "sd21"])
def test_diffusers(version):
    """The U-Nets of Stable Diffusion 1.5 and 2.1 in small, with equal weights."""
    with np.load(GOLDEN / "networks.npz") as file:
        golden = dict(file)
    heads = {"sd15": {"num_heads": 4}, "sd21": {"num_heads": (2, 4, 8), "linear_projection": True}}[version]
    unet = UNet((8, 16, 4), 12, None, (16, 32, 32), 2, (0, 1), groups=8, **heads)
    filled = weights.fill(unet, lambda path: names.unet_name(path, levels=3))
    assert sorted(filled) == golden[f"{version}_names"].tolist()
    prediction = unet(
        {
            "noisy_latents": golden["noisy_latents"],
            "timesteps": golden["timesteps"],
            "context": golden["context"],
            "context_mask": golden["context_mask"] > 0,
        }
    )
    expected = golden[f"{version}_prediction"]
    assert expected.std() > 0.1
    np.testing.assert_allclose(arrays(prediction), expected, atol=1e-4)
