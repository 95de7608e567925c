import json
import warnings

import keras
import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    check_compiled,
    check_config,
    check_save,
    compile_quietly,
    largest_change,
    needs_tensorflow,
    normal,
    randomize,
    tiny_autoencoder,
    tiny_latent_diffusion,
    tiny_text_encoder,
    tiny_unet,
)
from keras import ops

from latentdiff import LatentDiffusion, NoiseSchedule

CAPTIONS = ["a red apple", "a cat", "", "the small rocket"]
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype="uint8")
LATENTS = normal(3, 4, 4, 4, 3)


@pytest.fixture(scope="module")
def untouched():
    """A model for tests that leave it as it is."""
    keras.utils.set_random_seed(0)
    return compile_quietly(tiny_latent_diffusion())


def sgd():
    return keras.optimizers.SGD(0.05)


def tokens(model, captions=CAPTIONS):
    return ops.convert_to_tensor(model.text_encoder.tokenize(captions))


# === Contract ===


def test_config():
    model = tiny_latent_diffusion(prediction_type="latents", context_dropout=0.3, min_snr_gamma=None, seed=4)
    copy = LatentDiffusion.from_config(model.get_config())
    assert copy.get_config() == model.get_config()
    assert [variable.shape for variable in copy.weights] == [variable.shape for variable in model.weights]
    assert len(copy.trainable_variables) == len(model.trainable_variables) == len(model.unet.trainable_variables)
    check_config(model.noise_schedule)


def test_save(tmp_path):
    model = tiny_latent_diffusion()
    data = {"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}
    loaded = check_save(model, lambda model: model(data), tmp_path)
    assert_close(loaded.autoencoder.get_weights(), model.autoencoder.get_weights(), 0.0)


@pytest.mark.slow
def test_compiled_equals_eager(untouched):
    model = untouched
    check_compiled(
        model, model, {"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}, tolerance=1e-4
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"unet": lambda: tiny_unet(context_dim=6)},
            r"`unet` must take `context` of shape \(None, 8, 12\).*Received: one that takes \(None, None, 6\)",
        ),
        (
            {"unet": lambda: tiny_unet(latent_shape=(4, 4, 4))},
            r"`unet` must take `noisy_latents` of shape \(None, None, None, 3\)",
        ),
        ({"context_dropout": lambda: 1.5}, "`context_dropout`.*Received: context_dropout=1.5"),
        ({"prediction_type": lambda: "epsilon"}, "`prediction_type`"),
        (
            {"prediction_type": lambda: "noise", "noise_schedule": lambda: NoiseSchedule("rectified_flow")},
            "says nothing",
        ),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_latent_diffusion(**{name: make() for name, make in arguments.items()})


def test_data_without_pictures_or_text(untouched):
    model = untouched
    with pytest.raises(ValueError, match=r"`data` must hold 'images' or 'latents'. Received: \['token_ids'\]"):
        model({"token_ids": tokens(model)})
    with pytest.raises(ValueError, match=r"`data` must hold 'captions', 'token_ids' or 'context'"):
        model({"latents": ops.convert_to_tensor(LATENTS)})


def forms_of_data(model):
    """The same data as images and captions, and as latents with token ids or with context."""
    context, context_mask = arrays(model.text_encoder.encode(CAPTIONS))
    latents = arrays(model.autoencoder.encode(IMAGES))
    return {
        "images, captions": {"images": IMAGES, "captions": CAPTIONS},
        "latents, token_ids": {"latents": latents, "token_ids": arrays(tokens(model))},
        "latents, context": {"latents": latents, "context": context, "context_mask": context_mask},
    }


def test_every_form_of_data_is_the_same_data(untouched):
    model = untouched
    losses = {name: model.evaluate(data, batch_size=4, verbose=0) for name, data in forms_of_data(model).items()}
    assert losses["images, captions"] > 0.1
    np.testing.assert_allclose(list(losses.values()), losses["images, captions"], rtol=1e-4)


@pytest.mark.parametrize("form", ["images, captions", "latents, context"])
def test_fit_changes_the_unet_alone(form):
    model = compile_quietly(tiny_latent_diffusion(context_dropout=0.5), optimizer=sgd())
    data = forms_of_data(model)[form]
    trained, frozen = model.unet.get_weights(), model.autoencoder.get_weights() + model.text_encoder.get_weights()
    history = model.fit(data, validation_data=data, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"] + history["val_loss"]).all()
    assert_close(model.autoencoder.get_weights() + model.text_encoder.get_weights(), frozen, 0.0)
    moved = [np.abs(one - other).max() for one, other in zip(trained, model.unet.get_weights(), strict=True)]
    assert np.mean([change > 0 for change in moved]) > 0.9


def test_trainable_text_encoder_learns_too():
    model = tiny_latent_diffusion(text_encoder=tiny_text_encoder(trainable=True), context_dropout=0.0)
    compile_quietly(model, optimizer=sgd())
    before = model.text_encoder.get_weights()
    model.fit({"latents": LATENTS, "captions": CAPTIONS}, verbose=0)
    assert largest_change(before, model.text_encoder.get_weights()) > 0


class Batches(keras.utils.PyDataset):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {name: values[2 * index : 2 * index + 2] for name, values in self.data.items()}


def test_py_dataset(untouched):
    model = untouched
    data = forms_of_data(model)["latents, token_ids"]
    assert model.evaluate(Batches(data), verbose=0) == pytest.approx(model.evaluate(data, batch_size=2, verbose=0))


@pytest.mark.parametrize("objective", ["edm", {"distribution": {"name": "logit_normal", "std": 0.5}}])
def test_another_objective(objective, untouched):
    """It trains, it is kept, and it draws and weighs otherwise than the default."""
    model = compile_quietly(tiny_latent_diffusion(objective=objective), optimizer=sgd())
    assert np.isfinite(model.fit({"latents": LATENTS, "captions": CAPTIONS}, verbose=0).history["loss"]).all()
    copy = LatentDiffusion.from_config(json.loads(json.dumps(model.get_config())))
    assert copy.objective.get_config() == model.objective.get_config()
    timesteps = arrays(copy._noise(LATENTS, training=False)[0])
    np.testing.assert_array_equal(timesteps, arrays(model._noise(LATENTS, training=False)[0]))
    assert np.abs(timesteps - arrays(untouched._noise(LATENTS, training=False)[0])).max() > 10


def test_configs_from_before_there_were_objectives(untouched):
    config = untouched.get_config()
    assert config.pop("objective") is None
    copy = LatentDiffusion.from_config(config)
    assert copy.objective.get_config() == untouched.objective.get_config()


@needs_tensorflow
def test_tf_data(untouched):
    import tensorflow as tf

    model = untouched
    data = forms_of_data(model)["latents, token_ids"]
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(2)
    assert model.evaluate(dataset, verbose=0) == pytest.approx(model.evaluate(data, batch_size=2, verbose=0))
    dataset = tf.data.Dataset.from_tensor_slices(forms_of_data(model)["images, captions"]).batch(2)
    model = tiny_latent_diffusion()
    model.compile()  # in a graph captions are not known
    with pytest.raises(ValueError, match="captions in a dataset must be 'token_ids', from `text_encoder.tokenize`"):
        model.evaluate(dataset, verbose=0)


def test_long_captions_are_cut_with_a_warning(untouched):
    model = untouched
    with pytest.warns(UserWarning, match="it was cut before"):
        model.evaluate({"latents": LATENTS, "captions": ["a cat and a cat and a cat"] * 4}, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.prepare({"latents": LATENTS, "captions": CAPTIONS})


# === Laws ===


def test_evaluations_agree_and_training_does_not(untouched):
    model = untouched
    data = {"latents": LATENTS, "captions": CAPTIONS}
    assert model.evaluate(data, verbose=0) == model.evaluate(data, verbose=0)
    inputs = {"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}
    first, second = (arrays(model(inputs, training=True)["target"]) for _ in range(2))
    assert np.abs(first - second).max() > 0.1


@pytest.mark.parametrize("prediction_type, gamma", [("velocity", 5.0), ("noise", None), ("latents", 1.0)])
def test_loss_is_the_weighted_squared_error(prediction_type, gamma):
    model = compile_quietly(tiny_latent_diffusion(prediction_type=prediction_type, min_snr_gamma=gamma))
    inputs = {"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}
    parts = arrays(model(inputs))
    error = ((parts["prediction"] - parts["target"]) ** 2).mean(axis=(1, 2, 3))
    loss = model.evaluate({name: arrays(value) for name, value in inputs.items()}, verbose=0)
    np.testing.assert_allclose(loss, (parts["weights"] * error).mean(), rtol=1e-4)
    timesteps, _ = model._noise(LATENTS, training=False)
    assert_close(parts["weights"], model.noise_schedule.loss_weights(timesteps, prediction_type, gamma), 1e-6)


def test_perfect_unet_has_no_loss():
    """What the U-Net is shown and asked for fit together: knowing the latents is enough to answer."""
    model, seen = tiny_latent_diffusion(), {}

    def unet(inputs, training=None):
        seen.update(inputs)
        timesteps = inputs["timesteps"]
        _, pred_noise = model.noise_schedule.split(LATENTS, inputs["noisy_latents"], timesteps, "latents")
        return model.noise_schedule.target(LATENTS, pred_noise, timesteps, "velocity")

    keras.Model.__setattr__(model, "unet", unet)
    parts = arrays(model({"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}, training=True))
    np.testing.assert_allclose(parts["prediction"], parts["target"], atol=1e-3)
    assert np.abs(arrays(seen["noisy_latents"]) - LATENTS).max() > 0.1


def test_timesteps_spread_evenly(untouched):
    """Each row of a batch takes its own slice of time; over many batches each timestep is as likely as any other."""
    model = untouched
    drawn = np.stack([arrays(model._noise(LATENTS, training=True)[0]) for _ in range(200)])
    assert (drawn // 250 == np.arange(4)).all()
    assert (drawn == np.floor(drawn)).all() and drawn.max() <= 999
    within = (drawn[:, 0] + 0.5) / 250  # uniform in [0, 1]
    assert abs(within.mean() - 0.5) < 5 / np.sqrt(12 * 200)
    assert abs(within.std() - 12**-0.5) < 0.04


@pytest.mark.parametrize("names", [("token_ids",), ("context", "context_mask")])
def test_dropped_captions_are_the_empty_one(names):
    model = tiny_latent_diffusion(context_dropout=0.5)
    model.context_dropout = 0.25
    text_encoder = model.text_encoder
    caption, empty = (text_encoder.tokenize([text] * 400) for text in ("a red apple", ""))
    caption, empty = ((text_encoder(ids), text_encoder.mask(ids)) for ids in (caption, empty))
    data = dict(zip(("context", "context_mask"), caption, strict=True))
    if names == ("token_ids",):
        data = {"token_ids": ops.convert_to_tensor(text_encoder.tokenize(["a red apple"] * 400))}
    conditioning = arrays(model._conditioning(data, training=True))
    context, mask = conditioning["context"], conditioning["context_mask"]
    dropped = np.array([np.array_equal(row, arrays(empty[1])[0]) for row in mask])
    assert abs(dropped.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 400)
    expected = np.where(dropped[:, None, None], arrays(empty[0]), arrays(caption[0]))
    np.testing.assert_allclose(context, expected, atol=1e-5)
    np.testing.assert_array_equal(mask[~dropped], arrays(caption[1])[~dropped])
    kept = arrays(model._conditioning(data, training=False))
    np.testing.assert_allclose(kept["context"], arrays(caption[0]), atol=1e-5)


def test_fit_compiled():
    """The graph that `fit` makes takes the same steps as eager code, random numbers included."""
    changed = []
    for eager in (True, False):
        model = tiny_latent_diffusion()
        jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
        model.compile(sgd(), run_eagerly=eager, **jit)
        model.fit({"latents": LATENTS, "captions": CAPTIONS}, batch_size=2, shuffle=False, verbose=0)
        changed.append(model.unet.get_weights())
    assert_close(*changed, 1e-4)
    assert largest_change(changed[0], tiny_latent_diffusion().unet.get_weights()) > 0


@pytest.mark.slow
def test_it_learns_one_picture():
    model = randomize(tiny_latent_diffusion(context_dropout=0.0), scale=0.1)
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(keras.optimizers.Adam(1e-2), **jit)
    data = {"latents": np.repeat(LATENTS[:1], 32, axis=0), "captions": ["a cat"] * 32}
    before = model.evaluate(data, batch_size=32, verbose=0)
    model.fit(data, epochs=60, batch_size=32, verbose=0)
    assert model.evaluate(data, batch_size=32, verbose=0) < 0.5 * before


def test_half_precision():
    """Under mixed_bfloat16 data and loss keep their digits; only the networks compute in half."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tiny_latent_diffusion()
        mixed = arrays(model({"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(model)}))
        compile_quietly(model, optimizer=sgd())
        assert np.isfinite(model.fit({"latents": LATENTS, "captions": CAPTIONS}, verbose=0).history["loss"]).all()
    finally:
        keras.config.set_dtype_policy("float32")
    plain = tiny_latent_diffusion()
    full = arrays(plain({"latents": ops.convert_to_tensor(LATENTS), "token_ids": tokens(plain)}))
    assert_close(mixed["target"], full["target"], 1e-6)
    assert 0 < np.abs(mixed["prediction"] - full["prediction"]).max() < 0.1 * np.abs(full["prediction"]).max()


def test_timesteps_keep_their_digits_in_half_precision():
    """bfloat16 can't tell timestep 900 from 901."""
    unet = randomize(tiny_unet(dtype="mixed_bfloat16"), scale=1.0)
    inputs = {"noisy_latents": LATENTS[:1], "context": normal(5, 1, 3, 12), "context_mask": np.ones((1, 3), "bool")}
    inputs = {name: ops.convert_to_tensor(values) for name, values in inputs.items()}
    answers = [arrays(unet({**inputs, "timesteps": ops.convert_to_tensor([time])})) for time in (900.0, 901.0)]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    assert tiny_autoencoder(dtype="mixed_bfloat16").dtype_policy.name == "mixed_bfloat16"


# === Captions of any kind ===


def caption_kinds():
    encoded = [caption.encode() for caption in CAPTIONS]
    kinds = [CAPTIONS, tuple(CAPTIONS), encoded, np.array(CAPTIONS), np.array(encoded), np.array(encoded, object)]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        kinds += [tf.constant(CAPTIONS), list(tf.constant(CAPTIONS))]
    return kinds


@pytest.mark.parametrize("captions", caption_kinds(), ids=lambda value: type(value).__name__)
def test_captions_of_any_kind_are_the_same_text(captions, untouched):
    prepared = untouched.prepare({"latents": LATENTS, "captions": captions})
    np.testing.assert_array_equal(prepared["token_ids"], untouched.text_encoder.tokenize(CAPTIONS))


@pytest.mark.parametrize(
    "captions, message",
    [
        (["a", None, "b", "c"], "`captions`, row 1, must be text. Received: None"),
        (["a", "b", float("nan"), "c"], "`captions`, row 2, must be text. Received: nan"),
        (["a", "b", "c", 3], "`captions`, row 3, must be text. Received: 3"),
        (["a", "b", "\ud83d", "c"], "`captions`, row 2, must be valid Unicode text"),
        ([b"a", b"b", b"caf\xe9", b"c"], "`captions`, row 2, must be valid Unicode text"),
        (["a", "b"], "`captions` must be one text for each of the 4 rows. Received: 2"),
        ("a cat", "`captions` must be one text for each row"),
        (b"acat", "`captions` must be one text for each row"),
        (None, "`captions` must be one text for each row"),
    ],
)
def test_captions_that_are_no_text_are_named_by_all_that_takes_them(captions, message, untouched):
    data, good = {"latents": LATENTS, "captions": captions}, {"latents": LATENTS, "captions": CAPTIONS}
    for take in (untouched.fit, untouched.evaluate, untouched.predict, untouched.train_on_batch, untouched):
        with pytest.raises(ValueError, match=message):
            take(data)
    with pytest.raises(ValueError, match=message):
        untouched.fit(good, validation_data=(data,))


def test_what_fit_takes_everything_takes():
    model = compile_quietly(tiny_latent_diffusion(), optimizer=sgd())
    data = {"latents": LATENTS, "captions": CAPTIONS}
    expected = model.evaluate(data, batch_size=4, verbose=0)
    assert model.test_on_batch(data) == pytest.approx(expected, rel=1e-5)
    for validation in (data, (data,), (data, None)):
        history = model.fit(data, batch_size=4, epochs=1, verbose=0, validation_data=validation).history
        assert np.isfinite(history["val_loss"]).all()
    assert np.isfinite(model.train_on_batch(data))
    for answer in (model.predict(data, verbose=0), model.predict_on_batch(data), model(data)):
        assert answer["prediction"].shape == LATENTS.shape


# === Whose model is it? ===


def test_the_autoencoder_stays_the_users():
    autoencoder = compile_quietly(randomize(tiny_autoencoder()), optimizer=sgd())
    autoencoder.fit(IMAGES, epochs=1, verbose=0)
    model = compile_quietly(tiny_latent_diffusion(autoencoder=autoencoder), optimizer=sgd())
    assert autoencoder.trainable and autoencoder.trainable_variables
    mine = {id(variable) for variable in autoencoder.variables}
    assert not mine & {id(variable) for variable in model.trainable_variables}
    every = [*model.trainable_variables, *model.non_trainable_variables]
    assert {id(variable) for variable in every} == {id(variable) for variable in model.variables}
    assert len(every) == len(model.variables)
    before = autoencoder.get_weights()
    model.fit({"images": IMAGES, "captions": CAPTIONS}, epochs=1, verbose=0)
    assert largest_change(before, autoencoder.get_weights()) == 0.0
    autoencoder.fit(IMAGES, epochs=1, verbose=0)
    assert largest_change(before, autoencoder.get_weights()) > 0.0
