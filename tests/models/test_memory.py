import keras
import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    compile_quietly,
    first_fast,
    normal,
    randomize,
    tiny_latent_diffusion,
    tiny_unet,
)

from latentdiff import DiT, UNet
from latentdiff.models.memory import save_memory

OPTIONS = {"blocks": {"gradient_checkpointing": True}, "chunks": {"query_chunk_size": 6}}
OPTIONS["both"] = {**OPTIONS["blocks"], **OPTIONS["chunks"]}
KINDS = ["unet", "dit"]
UNET = {"widths": (8, 8), "num_blocks": 1, "attention_levels": (0, 1), "num_heads": 2, "groups": 4}
SIZE = 4


def make(kind, size=SIZE, dtype=None, dropout=0.0, depth=1):
    if kind == "unet":
        return randomize(UNet((size, size, 3), 6, 5, **UNET, dropout=dropout, dtype=dtype))
    return randomize(DiT((size, size, 3), 6, 5, width=8, depth=depth, num_heads=2, patch_size=1, dtype=dtype))


def inputs(batch=2, size=SIZE):
    mask = np.ones((batch, 5), "bool")
    mask[0, 3:] = False
    return {
        "noisy_latents": normal(0, batch, size, size, 3),
        "timesteps": np.linspace(3, 700, batch).astype("float32"),
        "context": normal(1, batch, 5, 6),
        "context_mask": mask,
    }


def gradient_function(network):
    """Function of inputs: the mean square of the prediction, and its gradients for all weights."""
    network.trainable = True

    def loss(data):
        return keras.ops.mean(keras.ops.square(network(data, training=True)))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        def gradients(data):
            with tf.GradientTape() as tape:
                value = loss(data)
            return value, tape.gradient(value, [variable.value for variable in network.trainable_variables])

        return gradients
    import jax

    def stateless(values, data):
        pairs = [*zip(network.trainable_variables, values, strict=True)]
        pairs += [(variable, variable.value) for variable in network.non_trainable_variables]
        with keras.StatelessScope(state_mapping=pairs):
            return loss(data)

    gradients = jax.jit(jax.value_and_grad(stateless))  # eagerly each operation would be compiled
    return lambda data: gradients([variable.value for variable in network.trainable_variables], data)


def compiled(function):
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    import jax

    return jax.jit(function)


# === Laws ===


@pytest.mark.parametrize(
    ("kind", "options"), first_fast([(kind, options) for options in ("both", "blocks", "chunks") for kind in KINDS], 2)
)
def test_gradients_stay_the_same(kind, options):
    network = make(kind)
    expected = arrays(gradient_function(network)(inputs()))
    save_memory(network, **OPTIONS[options])
    received = arrays(gradient_function(network)(inputs()))
    assert_close(received, expected, 1e-5)
    assert max(np.abs(values).max() for values in received[1]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_compiled_and_in_half_precision_and_with_dropout_too(options):
    network = make("unet", dtype="mixed_bfloat16", dropout=0.5)
    seeds = [layer.seed_generator.state for layer in network._flatten_layers() if hasattr(layer, "seed_generator")]
    before = [arrays(state) for state in seeds]
    expected = arrays(compiled(gradient_function(network))(inputs()))
    for state, value in zip(seeds, before, strict=True):
        state.assign(value)
    save_memory(network, **OPTIONS[options])
    received = arrays(compiled(gradient_function(network))(inputs()))
    largest = max(np.abs(values.astype("float32")).max() for values in expected[1])
    for one, other in zip(received[1], expected[1], strict=True):
        assert np.abs(one.astype("float32") - other.astype("float32")).max() < 0.02 * largest


@pytest.mark.slow
def test_fit_gives_the_same_adapter_and_words():
    def trained(**options):
        model = tiny_latent_diffusion(unet=tiny_unet(attention_levels=(0,)))
        lora, word = model.lora.add(rank=2), model.text_encoder.words.add("<x>")
        save_memory(model.network, **options)
        compile_quietly(model, optimizer=keras.optimizers.SGD(0.1))
        data = {"latents": normal(3, 4, 4, 4, 3), "captions": ["a <x> apple", "a <x>", "<x>", "the small <x>"]}
        model.fit(data, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return [arrays(variable) for variable in (*lora.trainable_variables, word.vectors)]

    assert_close(trained(**OPTIONS["both"]), trained(), 1e-5)


def test_predictions_stay_the_same_for_any_size():
    network = randomize(UNet((None, None, 3), 6, 5, **UNET))
    expected = arrays(network(inputs(size=6)))
    save_memory(network, query_chunk_size=10)  # 36 and 9 queries
    assert_close(network(inputs(size=6)), expected, 1e-5)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX tells how much memory it takes")
@pytest.mark.parametrize(
    ("options", "depth", "most"), [({"gradient_checkpointing": True}, 4, 0.5), ({"query_chunk_size": 16}, 1, 0.5)]
)
def test_memory_falls(options, depth, most):
    import jax

    network = make("dit", size=16, depth=depth)

    def temporary_bytes():
        lowered = jax.jit(gradient_function(network)).lower(inputs(4, size=16))
        # XLA for CPUs takes away what keeps the second computation apart from the first; that for GPUs does not.
        compiled = lowered.compile(compiler_options={"xla_disable_hlo_passes": "cse_barrier_expander"})
        return compiled.memory_analysis().temp_size_in_bytes

    before = temporary_bytes()
    save_memory(network, **options)
    assert temporary_bytes() < most * before


# === Errors ===


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="`query_chunk_size` must be None or a whole number of at least 1"):
        save_memory(make("dit"), query_chunk_size=0)
    with pytest.raises(ValueError, match="`gradient_checkpointing` needs layers of this package"):
        save_memory(keras.Sequential([keras.layers.Dense(2)]), gradient_checkpointing=True)
