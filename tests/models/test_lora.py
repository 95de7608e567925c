import keras
import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    compile_quietly,
    normal,
    part_answers,
    randomize,
    tiny_dit,
    tiny_latent_diffusion,
    tiny_text_to_image,
    tiny_unet,
)
from keras import ops

from latentdiff import TextToImage
from latentdiff.models.compilation import compile_function
from latentdiff.models.lora import TARGETS

DATA = {"latents": normal(3, 4, 4, 4, 3), "captions": ["a red apple", "a cat", "", "the small rocket"]}
EVERYTHING = {"targets": tuple(TARGETS), "parts": ("unet", "text_encoder")}


def answers(model):
    """Prediction and text features for fixed inputs."""
    context, context_mask = model.text_encoder.encode(["a red apple", "zebra"])
    inputs = {"noisy_latents": normal(0, 2, 4, 4, 3), "timesteps": np.array([5.0, 800.0], "float32")}
    inputs = {name: ops.convert_to_tensor(values) for name, values in inputs.items()}
    return arrays([model.network({**inputs, "context": context, "context_mask": context_mask}), context])


def add_random(model, name="lora", seed=0, **options):
    lora = model.lora.add(name, rank=2, **{**EVERYTHING, **options})
    randomize(lora, seed)
    lora.scale.assign(1.0)
    return lora


# === Laws ===


def test_a_new_adapter_changes_nothing_and_a_trained_one_all_parts(plain):
    before = answers(plain)
    lora = plain.lora.add(rank=2, **EVERYTHING)
    assert_close(answers(plain), before, 0.0)
    randomize(lora)
    for one, other in zip(answers(plain), before, strict=True):
        assert np.abs(one - other).max() > 1e-3


def test_removed_it_leaves_no_trace(plain):
    before, count, kinds = answers(plain), len(plain.variables), [type(layer) for layer in plain._flatten_layers()]
    add_random(plain)
    plain.lora.remove("lora")
    assert_close(answers(plain), before, 0.0)
    assert len(plain.variables) == count
    assert [type(layer) for layer in plain._flatten_layers()] == kinds


@pytest.mark.parametrize("network", [tiny_unet, tiny_dit], ids=["unet", "dit"])
def test_merged_equals_unmerged(network):
    model = tiny_latent_diffusion(unet=network())
    add_random(model, "one")
    add_random(model, "two", seed=1, parts="unet", targets="attention").scale.assign(0.5)
    with_adapters, kernels = answers(model), model.unet.get_weights()
    with model.lora.merged():
        assert not list(model.lora)
        assert_close(answers(model), with_adapters, 1e-5)
    assert list(model.lora) == ["one", "two"]
    assert_close(model.unet.get_weights(), kernels, 0.0)
    assert_close(answers(model), with_adapters, 0.0)
    model.lora.merge()
    assert not list(model.lora) and model.lora_layers == []
    assert_close(answers(model), with_adapters, 1e-5)


def test_the_change_of_the_weights_is_linear_in_the_scale_and_adds_up(plain):
    one, two = add_random(plain, "one"), add_random(plain, "two", seed=1)
    layers = plain.lora.layers()

    def change(first, second):
        one.scale.assign(first)
        two.scale.assign(second)
        return [arrays(layers[path].kernel) - arrays(layers[path]._kernel) for path in one.ranks]

    alone, other, both = change(1.0, 0.0), change(0.0, 1.0), change(-0.5, 2.0)
    for first, second, mixed in zip(alone, other, both, strict=True):
        np.testing.assert_allclose(mixed, -0.5 * first + 2.0 * second, atol=1e-5)
        assert np.abs(first).max() > 1e-3


def test_alpha_divides_by_the_rank(plain):
    lora = add_random(plain, alpha=6.0, targets="linear", parts="unet")
    path = next(iter(lora.ranks))
    down, up = (arrays(variable) for variable in lora.matrices[path])
    np.testing.assert_allclose(arrays(lora.delta(path)), 3.0 * down @ up, rtol=1e-5)


# === Targets ===


def test_targets_are_what_they_say(plain):
    layers = plain.lora.layers(("unet",))
    attention = set(plain.lora.add("a", targets="attention").ranks)
    ends = {path.rsplit("/", 2)[-2] + "/" + path.rsplit("/", 1)[-1] for path in attention}
    kinds = [f"{kind}_attention/{part}" for kind in ("self", "cross") for part in ("query", "key", "value", "out")]
    assert ends == set(kinds)
    linear, convolution = (set(plain.lora.add(name, targets=name).ranks) for name in ("linear", "convolution"))
    assert attention < linear and not linear & convolution and linear | convolution == set(layers)
    text = plain.lora.add("t", parts="text_encoder").ranks
    ends = {path.rsplit("/", 1)[-1] for path in text}
    assert ends == {"query", "key", "value", "attention_output"} and all(p.startswith("text_encoder/") for p in text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "bias"}, "`targets` must be one or some of .*targets='bias'"),
        ({"parts": ()}, "`parts` must be one or some of"),
        ({"rank": 0}, "`rank` must be a whole number of at least 1. Received: rank=0"),
        ({"alpha": 0.0}, "`alpha` must be a number above 0. Received: alpha=0.0"),
    ],
)
def test_wrong_arguments_are_refused(plain, options, message):
    with pytest.raises(ValueError, match=message):
        plain.lora.add(**options)
    assert not list(plain.lora)


def test_names_are_unique_and_known(plain):
    plain.lora.add("one")
    with pytest.raises(ValueError, match="`name` must be a new one"):
        plain.lora.add("one")
    with pytest.raises(ValueError, match=r"one of \['one'\]. Received: name='two'"):
        plain.lora.remove("two")


# === Training ===


def test_fit_changes_the_adapter_alone_and_has_slots_for_it_alone(plain):
    lora = plain.lora.add(rank=2, parts=("unet", "text_encoder"))
    before = {id(variable): arrays(variable) for variable in plain.variables}
    compile_quietly(plain, optimizer=keras.optimizers.Adam(1e-2))
    plain.fit(DATA, batch_size=4, verbose=0)
    plain.fit(DATA, batch_size=4, verbose=0)  # the first step moves `up` alone
    moved = {
        variable.path
        for variable in plain.variables
        if id(variable) in before and np.abs(arrays(variable) - before[id(variable)]).max() > 0
    }
    matrices = lora.trainable_variables
    assert {variable.path for variable in matrices} <= moved
    assert all("seed" in path or path.startswith("lora") or "loss" in path for path in moved), moved
    assert len(plain.optimizer.variables) == 2 + 2 * len(matrices)  # Adam: iteration, learning rate, two slots each


def test_without_a_trainable_adapter_all_else_is_trained(plain):
    count = len(plain.trainable_variables)
    plain.lora.add().trainable = False
    assert len(plain.trainable_variables) == count


# === Saving ===


def test_a_keras_file_resumes_exactly(tmp_path):
    """Two epochs are one, saved as `.keras` with adapter and optimizer, opened, and one more."""

    def fit(model, epochs):
        model.run_eagerly = keras.backend.backend() == "tensorflow"
        model.fit(DATA, batch_size=4, epochs=epochs, verbose=0, shuffle=False)
        return [arrays(variable) for variable in model.lora["lora"].variables]

    model = tiny_latent_diffusion()
    model.lora.add(rank=2, alpha=4.0, parts=("unet", "text_encoder"))
    model.compile(keras.optimizers.Adam(1e-2))
    fit(model, 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.lora["lora"].get_config() == model.lora["lora"].get_config()
    assert_close(fit(loaded, 1), fit(model, 1), 1e-6)


def test_a_preset_holds_adapters_as_adapters(tmp_path):
    pipeline = tiny_text_to_image()
    lora = add_random(pipeline.model, targets="linear")
    lora.scale.assign(0.5)
    lora.trainable = False
    expected = part_answers(pipeline)
    pipeline.save_to_preset(tmp_path / "preset")
    loaded = TextToImage.from_preset(tmp_path / "preset")
    assert float(loaded.model.lora["lora"].scale) == 0.5 and not loaded.model.lora["lora"].trainable
    assert_close(part_answers(loaded), expected, 1e-5)
    loaded.model.lora.remove("lora")
    pipeline.model.lora.remove("lora")
    assert_close(part_answers(loaded), part_answers(pipeline), 1e-5)


# === Compiled ===


def test_what_is_compiled_follows_scales_and_is_compiled_anew_for_other_adapters(plain):
    traced, ids = [], ops.convert_to_tensor(plain.text_encoder.tokenize(["a red apple"]))

    def encode(token_ids):
        traced.append(1)  # seen by Python only while the function is compiled
        return plain.text_encoder(token_ids)

    compiled = compile_function(encode, plain)
    before = arrays(compiled(ids))
    lora = add_random(plain)
    for scale in (1.0, -0.5, 0.0):
        lora.scale.assign(scale)
        assert_close(compiled(ids), plain.text_encoder(ids), 1e-5)
        assert (np.abs(arrays(compiled(ids)) - before).max() > 1e-2) == (scale != 0.0)
    assert len(traced) == 2
    plain.lora.remove("lora")
    assert_close(compiled(ids), before, 1e-6)
