import keras
import numpy as np
import pytest
from harness import (
    arrays,
    assert_close,
    compile_quietly,
    first_fast,
    needs_tensorflow,
    normal,
    tiny_autoencoder,
    tiny_text_to_image,
)
from keras import ops

from latentdiff.models.losses import PatchDiscriminator
from latentdiff.models.trainable_model import TrainableModel, WarmUp, WarmUpAdamW, default_optimizer
from latentdiff.models.unet import UNet
from latentdiff.recipes.callbacks import AveragedWeights

DATA = normal(0, 12, 3)
WITHOUT_XLA = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}  # compiles faster


@keras.saving.register_keras_serializable(package="latentdiff_tests")
class Noisy(TrainableModel):
    """Learns to undo noise: two weights, and random numbers in each step, as the real models have."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)
        self.dense.build((None, 3))
        self.seed_generator = keras.random.SeedGenerator(5)
        self.built = True

    def call(self, x, training=False):
        return self.dense(x + keras.random.normal(ops.shape(x), seed=self.seed_generator) if training else x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(x - y_pred))


def make(momentum=0.9, dtype=None, **settings):
    keras.utils.set_random_seed(1)
    model = Noisy(dtype=dtype)
    optimizer = keras.optimizers.AdamW(0.05, use_ema=True, ema_momentum=momentum, **settings)
    model.compile(optimizer, **WITHOUT_XLA)
    return model


def fit(model, epochs, **kwargs):
    return model.fit(DATA, epochs=epochs, shuffle=False, verbose=0, **{"batch_size": 4, **kwargs})


def raw_weights(model):
    """The weights as they were before the end of `fit` averaged them."""
    return model._before_average()


# === Contract ===


def test_compile_needs_no_argument():
    model = Noisy()
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.AdamW)
    assert model.optimizer.use_ema
    before = model.get_weights()
    assert np.isfinite(fit(model, 1).history["loss"]).all()
    assert np.abs(before[0] - model.get_weights()[0]).max() > 0


def test_warm_up():
    rate = WarmUp(2e-4, 500)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 249, 499, 5000)], [4e-7, 1e-4, 2e-4, 2e-4], rtol=1e-5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert copy.get_config() == rate.get_config()
    optimizer = default_optimizer(1e-3)
    assert type(optimizer).from_config(optimizer.get_config()).get_config() == optimizer.get_config()


def test_warm_up_and_decay():
    rate = WarmUp(2e-4, 500, decay_steps=2000)
    theirs = keras.optimizers.schedules.CosineDecay(0.0, 2000, warmup_target=2e-4, warmup_steps=500)
    steps = (500, 501, 1000, 1777, 2499, 2500, 3000)
    expected = [float(theirs(step)) for step in steps]
    np.testing.assert_allclose([float(rate(step)) for step in steps], expected, rtol=1e-4, atol=1e-11)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 249)], [4e-7, 1e-4], rtol=1e-5)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rate))
    assert float(copy(1000)) == float(rate(1000))


@needs_tensorflow
def test_the_first_step_is_traced_once():
    class Counting(Noisy):
        traces = 0

        def train_step(self, data):
            Counting.traces += 1
            return super().train_step(data)

    model = Counting()
    model.compile()
    fit(model, 2)
    assert Counting.traces == 1


def test_nothing_is_left_to_build():
    """What `fit` asks for before it builds the optimizer, of models with a level that is halved."""
    latent_diffusion = tiny_text_to_image().model
    unet = UNet((8, 8, 3), 16, widths=(8, 8), num_blocks=1, attention_levels=(0, 1), num_heads=2, groups=4)
    for model in (latent_diffusion, unet, tiny_autoencoder(widths=(8, 8), middle_attention=True)):
        assert [layer.name for layer in model._flatten_layers() if not layer.built] == []


# === Laws ===


class Record(keras.callbacks.Callback):
    """The raw weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([arrays(variable.value).copy() for variable in self.model.trainable_variables])


def test_after_fit_the_weights_are_their_moving_average():
    model, record = make(), Record()
    average = [arrays(variable.value).copy() for variable in model.trainable_variables]
    model.fit(DATA, epochs=6, batch_size=len(DATA), verbose=0, callbacks=[record])  # one step an epoch
    # Keras starts the average with the weights after the first step.
    average = record.weights[0]
    for weights in record.weights[1:]:
        average = [0.9 * old + 0.1 * new for old, new in zip(average, weights, strict=True)]
    assert_close([variable.value for variable in model.trainable_variables], average, 1e-5)
    assert_close(raw_weights(model), record.weights[-1], 0.0)
    assert np.abs(average[0] - record.weights[-1][0]).max() > 1e-3


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
@pytest.mark.parametrize("swapping", [False, True])
def test_two_fits_are_one_long_fit(swapping, dtype):
    long, short = make(dtype=dtype), make(dtype=dtype)
    fit(long, 5)
    for epochs in (2, 1, 2):
        fit(short, epochs, callbacks=[AveragedWeights()] if swapping else [])
    assert_close(raw_weights(short), raw_weights(long), 1e-6)
    assert_close(short.get_weights(), long.get_weights(), 1e-6)


def test_weights_that_were_changed_after_fit_are_kept():
    model = make(momentum=0.5)
    fit(model, 1)
    for variable in model.trainable_variables:
        variable.assign(np.full(variable.shape, 7.0))
    fit(model, 1)
    assert min(np.abs(value).min() for value in raw_weights(model)) > 6.0


class StopAfter(keras.callbacks.Callback):
    """Ends training in or after the epoch of this number, counted from 0."""

    def __init__(self, epoch, at_its_end):
        super().__init__()
        self.epoch, self.at_its_end = epoch, at_its_end

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training |= batch == 2 and not self.at_its_end and self.epochs_begun == self.epoch + 1

    def on_train_begin(self, logs=None):
        self.epochs_begun = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs_begun += 1

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= self.at_its_end and epoch == self.epoch


@pytest.mark.parametrize("at_its_end", [False, True])
def test_what_is_stopped_early_has_its_average_and_its_weights(at_its_end):
    whole, stopped, behind = make(), make(), Record()
    fit(whole, 2)
    fit(stopped, 10, callbacks=[AveragedWeights(), StopAfter(1, at_its_end), behind])
    assert_close(stopped.get_weights(), whole.get_weights(), 1e-6)
    assert_close(raw_weights(stopped), raw_weights(whole), 1e-6)
    assert_close(behind.weights[-1], whole.trainable_variables, 1e-6)


def test_fit_while_an_error_is_handled():
    usual, second_try = make(), make()
    fit(usual, 2)
    try:
        raise MemoryError("batch too large")
    except MemoryError:
        fit(second_try, 2)
    assert_close(second_try.get_weights(), usual.get_weights(), 1e-6)
    assert np.abs(raw_weights(second_try)[0] - second_try.get_weights()[0]).max() > 1e-3


def test_fit_wants_compile_first():
    with pytest.raises(ValueError, match="call `compile\\(\\)`"):
        fit(Noisy(), 1)


def test_error_in_fit_is_not_hidden():
    model = make()

    class Fail(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fit(model, 1, callbacks=[Fail()])
    fit(model, 1)  # and one can go on


class BreakOff(keras.callbacks.Callback):
    """Raises `error` in `hook`, once."""

    def __init__(self, hook, error):
        super().__init__()
        setattr(self, hook, self.raise_once)
        self.error = error

    def raise_once(self, *args, **kwargs):
        error, self.error = self.error, None
        if error:
            raise error


@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("error", first_fast([KeyboardInterrupt("stop"), RuntimeError("disk full")]))
def test_what_breaks_off_while_the_average_is_in_the_model_goes_on_from_its_weights(hook, error):
    whole, broken = make(), make()
    validation = {"validation_data": (DATA,)} if hook == "on_test_batch_end" else {}
    fit(whole, 2, callbacks=[AveragedWeights()], **validation)
    with pytest.raises(type(error), match=str(error)):
        fit(broken, 2, callbacks=[AveragedWeights(), BreakOff(hook, error)], **validation)
    fit(broken, 1, callbacks=[AveragedWeights()], **validation)
    assert_close(raw_weights(broken), raw_weights(whole), 1e-6)
    assert_close(broken.get_weights(), whole.get_weights(), 1e-6)


def test_seed_state_is_saved(tmp_path):
    first, second = make(), make()
    fit(first, 2)
    state = arrays(first.seed_generator.state.value)
    assert np.any(state != arrays(second.seed_generator.state.value))
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(arrays(second.seed_generator.state.value), state)


def callbacks(folder):
    return [Record(), keras.callbacks.BackupAndRestore(folder), AveragedWeights()]


def test_interrupted_run_resumes_where_it_was(tmp_path):
    """Weights, average, optimizer and random numbers come back: a new model ends as if nothing had happened."""

    class PowerCut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("power cut")

    whole, cut, resumed = make(), make(), make()
    before, after = callbacks(tmp_path / "whole"), callbacks(tmp_path / "cut")
    fit(whole, 4, callbacks=before)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(cut, 4, callbacks=[*callbacks(tmp_path / "cut"), PowerCut()])
    assert len(fit(resumed, 4, callbacks=after).history["loss"]) == 2
    raw, resumed_raw = before[0].weights[-1], after[0].weights[-1]
    assert_close(resumed_raw, raw, 1e-6)
    assert_close(resumed.get_weights(), whole.get_weights(), 1e-6)
    assert np.abs(raw[0] - whole.get_weights()[0]).max() > 1e-3


def test_saved_and_loaded_averages_go_on(tmp_path):
    """`save_weights` after `fit` and `load_weights` into a new model keep the averaged weights and the average."""
    model = make()
    fit(model, 2)
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = make()
    loaded.optimizer.build(loaded.trainable_variables)
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert_close(loaded.get_weights(), model.get_weights(), 0.0)
    averages = loaded.optimizer._model_variables_moving_average
    assert_close([average.value for average in averages], model.trainable_variables, 0.0)


@pytest.mark.parametrize("steps", [3, 2])
@pytest.mark.parametrize("batch_size", first_fast([5, 4]))
def test_steps_in_one_call_are_the_steps_one_by_one(batch_size, steps):
    one_by_one, together = make(), make()
    together.steps_per_execution = steps  # 3 batches an epoch, the last perhaps smaller: all at once, or two and one
    losses = [fit(model, 3, batch_size=batch_size).history["loss"] for model in (one_by_one, together)]
    assert_close(losses[0], losses[1], 1e-6)
    for left, right in zip(raw_weights(one_by_one), raw_weights(together), strict=True):
        assert_close(left, right, 1e-6)
    assert int(together.optimizer.iterations) == 9


# === Parts that are frozen, and layers that draw ===


class Dropping(TrainableModel):
    """Two layers with dropout of their own seeds between them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.last = keras.layers.Dense(8, name="first"), keras.layers.Dense(1, name="last")
        self.dropout = keras.Sequential([keras.layers.Dropout(0.5, seed=3), keras.layers.Dropout(0.5, seed=4)])
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, data, training=False):
        return self.last(self.dropout(self.first(data), training=training))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred - x[:, :1]))


def dropping():
    keras.utils.set_random_seed(2)
    model = Dropping()
    model(normal(0, 2, 4))
    return compile_quietly(model, optimizer=keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9))


def test_a_resumed_run_with_dropout_has_the_losses_of_a_whole_one(tmp_path):
    data, options = normal(1, 16, 4), {"batch_size": 4, "shuffle": False, "verbose": 0}
    whole = dropping().fit(data, epochs=4, **options).history["loss"]

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    callbacks = [keras.callbacks.BackupAndRestore(str(tmp_path)), AveragedWeights()]
    with pytest.raises(KeyboardInterrupt):
        dropping().fit(data, epochs=4, callbacks=[*callbacks, Stop()], **options)
    callbacks = [keras.callbacks.BackupAndRestore(str(tmp_path)), AveragedWeights()]
    resumed = dropping().fit(data, epochs=4, callbacks=callbacks, **options).history["loss"]
    assert len(resumed) == 2
    np.testing.assert_allclose(resumed, whole[2:], rtol=1e-5)


def test_files_of_earlier_versions_have_one_seed_state(tmp_path):
    model = dropping()
    assert len(model.seed_generators()) == 3
    store = {}
    model.save_own_variables(store)
    assert {"seed_state", "seed_state_1", "seed_state_2"} <= set(store)
    del store["seed_state_1"], store["seed_state_2"]
    store["seed_state"] = store["seed_state"] + 5
    model.load_own_variables(store)
    np.testing.assert_array_equal(model.seed_generator.state, store["seed_state"])


@needs_tensorflow
def test_a_part_may_be_frozen_between_two_fits():
    model, data = dropping(), normal(1, 16, 4)
    model.fit(data, epochs=1, batch_size=4, verbose=0)
    model.first.trainable = False
    frozen, free = (np.array(layer.kernel) for layer in (model.first, model.last))
    model.fit(data, epochs=2, batch_size=4, verbose=0, callbacks=[AveragedWeights()])
    np.testing.assert_array_equal(model.first.kernel, frozen)
    assert np.abs(np.array(model.last.kernel) - free).max() > 1e-4
    model.first.trainable = True
    model.fit(data, epochs=1, batch_size=4, verbose=0)
    assert np.abs(np.array(model.first.kernel) - frozen).max() > 1e-4


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="on TensorFlow it needs no `compile`")
def test_on_jax_compile_must_follow_a_freeze():
    model, data = dropping(), normal(1, 16, 4)
    model.fit(data, epochs=1, batch_size=4, verbose=0)
    model.first.trainable = False
    with pytest.raises(ValueError, match="`compile` must be called again.*Received: 2 trainable weights, .* of 4"):
        model.fit(data, epochs=1, batch_size=4, verbose=0)
    frozen = np.array(model.first.kernel)
    model.compile("adam")
    model.fit(data, epochs=1, batch_size=4, verbose=0)
    np.testing.assert_array_equal(model.first.kernel, frozen)


def test_a_first_step_that_fails_loses_no_weights():
    model = make()
    before = [value.copy() for value in model.get_weights()]
    with pytest.raises(ValueError, match="shape"):
        model.fit(normal(0, 12, 5), verbose=0)  # other features than those that the model was built for
    assert_close(model.get_weights(), before, 0.0)
    fit(model, 1)
    assert np.isfinite(model.get_weights()[0]).all()


# === The default optimizer, and what would be ignored ===


def test_the_default_optimizer_warms_up_and_takes_a_learning_rate():
    model = make()
    model.compile(
        default_optimizer(1e-2), **({"jit_compile": False} if keras.backend.backend() == "tensorflow" else {})
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-2)
    seen = []

    def schedule(epoch, rate):
        seen.append(rate)
        return rate / 2

    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=1e9, patience=0, factor=0.1)
    fit(model, 2, callbacks=[keras.callbacks.LearningRateScheduler(schedule), plateau])
    assert seen[0] == pytest.approx(1e-2) and float(model.optimizer.learning_rate) < 0.3 * seen[1]
    model.optimizer.learning_rate = 3e-3
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer))
    assert isinstance(copy, WarmUpAdamW) and float(copy.learning_rate) == pytest.approx(3e-3)


def test_warm_up_scales_the_first_updates():
    moved = []
    for optimizer in (WarmUpAdamW(0.1, warmup_steps=4), keras.optimizers.AdamW(0.1)):
        weight = keras.Variable(np.zeros(1, "float32"))
        optimizer.build([weight])
        places = [0.0]
        for _ in range(6):
            optimizer.apply([np.ones(1, "float32")], [weight])
            places.append(float(weight.value[0]))
        moved.append(np.diff(places))
    np.testing.assert_allclose(moved[0] / moved[1], [0.25, 0.5, 0.75, 1, 1, 1], rtol=0.02)


@pytest.mark.parametrize("name, value", [("sample_weight", np.ones(12)), ("class_weight", {0: 2.0})])
def test_weights_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be None: the losses weigh all images alike"):
        fit(make(), 1, **{name: value})


def test_another_loss_is_refused():
    with pytest.raises(ValueError, match="`loss` must be None: the model has its own losses. Received: loss='mse'"):
        Noisy().compile(loss="mse")


# === Files of compiled models ===


def compiled(kind):
    """A compiled model, its data, and what it is in the file."""
    if kind == "autoencoder":
        discriminator = PatchDiscriminator((8,))
        model = tiny_autoencoder(adversarial_weight=0.5)
        options = {"discriminator": discriminator, "adversarial_start": 2, "steps_per_execution": 2}
        model.compile(default_optimizer(1e-3), **options, **WITHOUT_XLA)
        return model, {"images": normal(0, 8, 8, 8, 3).clip(-1.0, 1.0)}
    model = tiny_text_to_image().model
    model.compile(default_optimizer(1e-3), **WITHOUT_XLA)
    return model, {"latents": normal(0, 8, 4, 4, 3), "captions": ["a cat"] * 8}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autoencoder", "latent_diffusion"])
def test_a_loaded_model_is_compiled_and_trains_on(kind, tmp_path):
    """With the state of its optimizer, from a file that `ModelCheckpoint` wrote."""
    model, data = compiled(kind)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0}
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "model.keras")
    model.fit(data, epochs=1, callbacks=[checkpoint], **options)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.compiled and loaded.steps_per_execution == model.steps_per_execution
    assert int(loaded.optimizer.iterations) == 2
    model._return_before_average()  # the checkpoint was written before the average took over
    for left, right in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        assert_close(left, right, 0.0)
    losses = [each.fit(data, epochs=2, **options).history["loss"] for each in (model, loaded)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    evaluated = [each.evaluate(data, batch_size=4, verbose=0, return_dict=True) for each in (model, loaded)]
    assert evaluated[0].keys() == evaluated[1].keys()
    np.testing.assert_allclose(evaluated[1]["loss"], evaluated[0]["loss"], rtol=1e-5)


@pytest.mark.parametrize("weight, told", [(None, "had a perceptual loss, which no file holds"), (0.5, "has no effect")])
def test_a_perceptual_loss_is_in_no_file_and_loading_says_so(weight, told, tmp_path):
    model = tiny_autoencoder(perceptual_weight=weight)
    model.compile(perceptual_loss=lambda images, made: ops.mean(ops.square(images - made)))
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match=told):
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.compiled and loaded.perceptual_loss is None


def test_a_model_that_was_not_compiled_is_not_compiled_when_loaded(tmp_path):
    tiny_autoencoder().save(tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").compiled
