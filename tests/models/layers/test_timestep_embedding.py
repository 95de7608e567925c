import numpy as np
import pytest
from harness import GOLDEN, arrays, assert_close, check_layer, normal

from latentdiff.models.layers import TimestepEmbedding


def waves_of(timesteps, waves_dim=16, **arguments):
    """The cosines and sines themselves: both dense layers made to do nothing."""
    layer = TimestepEmbedding(waves_dim, waves_dim, **arguments)
    layer(timesteps)
    layer.dense_in.activation = lambda x: x
    for dense in (layer.dense_in, layer.dense_out):
        dense.kernel.assign(np.eye(waves_dim))
    return arrays(layer(timesteps))


def test_layer():
    timesteps = np.array([0.0, 3.5, 999.0], "float32")
    check_layer(lambda dtype: TimestepEmbedding(8, 12, dtype=dtype), timesteps)


def test_odd_number_of_waves():
    with pytest.raises(ValueError, match="`waves_dim` must be even. Received: waves_dim=7"):
        TimestepEmbedding(7, 12)


def test_formula():
    """Appendix B of arXiv:2006.11239, cosines first."""
    waves = waves_of(np.array([0.0, 20.0], "float32"), 4, max_period=100.0)
    expected = [np.cos(20), np.cos(20 / 10), np.sin(20), np.sin(20 / 10)]
    np.testing.assert_allclose(waves, [[1, 1, 0, 0], expected], atol=1e-5)


def test_half_precision_keeps_neighbouring_timesteps_apart():
    """bfloat16 can't tell 900 from 901, so the waves are made in float32."""
    layer = TimestepEmbedding(8, 8, dtype="mixed_bfloat16")
    made = arrays(layer(np.array([900.0, 901.0], "float32"))).astype("float32")
    assert np.abs(made[0] - made[1]).max() > 0.05


def test_diffusers():
    with np.load(GOLDEN / "networks.npz") as golden:
        np.testing.assert_allclose(waves_of(golden["timesteps"]), golden["timestep_waves"], atol=1e-4)


def test_rows_do_not_meet():
    layer, timesteps = TimestepEmbedding(8, 12), 500 + 100 * normal(0, 4)
    assert_close(layer(timesteps)[2:3], layer(timesteps[2:3]), 1e-6)
