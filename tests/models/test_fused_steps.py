"""Several training steps in one compiled call on JAX: how often that is compiled."""

import keras
import numpy as np
import pytest

from latentdiff.models.fused_steps import fuse_steps

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="on TensorFlow Keras does this itself")


def counting(state, data):
    """A training step: the sum of what it saw, and how many."""
    total, count = state
    return {"total": total + data.sum()}, (total + data.sum(), count + 1)


@pytest.fixture
def compiled(monkeypatch):
    """The names of the functions that were compiled since."""
    import jax

    names = []

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


def test_one_program_serves_whole_calls_and_what_is_left(compiled):
    import jax.numpy as jnp

    function, state, batches = fuse_steps(counting, 4), (jnp.zeros(()), jnp.zeros((), "int32")), iter(np.ones((10, 3)))
    for count in (4, 8, 10):
        logs, state = function(state, batches)
        assert (float(logs["total"]), int(state[1])) == (3.0 * count, count)
    assert sum("run" in name for name in compiled) == 1
    with pytest.raises(StopIteration):
        function(state, batches)
