import numpy as np
from harness import arrays, assert_close, check_layer, normal, randomize

from latentdiff.models.layers import AdaptiveBlock

INPUTS, MODULATION, CONTEXT = normal(0, 2, 2, 3, 8), normal(1, 2, 48), normal(2, 2, 4, 6)


def make(dtype="float32"):
    return AdaptiveBlock(2, expansion=2, dtype=dtype)


def test_contract():
    check_layer(make, INPUTS, MODULATION, CONTEXT, tolerance=1e-4)


def test_closed_gates_leave_the_text_alone():
    """With both gates at 0 only the attention to the context adds something."""
    layer = make()
    layer(INPUTS, MODULATION, CONTEXT)
    randomize(layer)
    layer.scale_shift_table.assign(np.zeros((6, 8)))
    modulation = MODULATION.reshape(2, 6, 8) * np.array([1, 1, 0, 1, 1, 0])[None, :, None]
    received = layer(INPUTS, modulation.reshape(2, 48).astype("float32"), CONTEXT)
    flat = INPUTS.reshape(2, 6, 8)
    assert_close(arrays(received).reshape(2, 6, 8), flat + arrays(layer.cross_attention(flat, CONTEXT)), 1e-5)


def test_hidden_tokens_do_not_matter():
    layer = make()
    layer(INPUTS, MODULATION, CONTEXT)
    randomize(layer)
    mask = np.array([[True, True, False, False], [True, False, False, False]])
    garbage = np.where(mask[..., None], CONTEXT, 1e3 * normal(5, 2, 4, 6)).astype("float32")
    assert_close(
        layer(INPUTS, MODULATION, garbage, key_mask=mask), layer(INPUTS, MODULATION, CONTEXT, key_mask=mask), 1e-6
    )
