"""What all training models share: good defaults for `compile`, and a moving average of the weights that is safe."""

import contextlib
import math
import sys

import keras
import numpy as np
from keras import ops

from latentdiff.models.fused_steps import fuse_steps


@keras.saving.register_keras_serializable(package="latentdiff")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises evenly to `learning_rate` within `steps`, then stays, or falls.

    Where `decay_steps` are given, it falls to nothing along half a cosine within as many more (Loshchilov and Hutter,
    2016, arXiv:1608.03983). With `inverse_sqrt` it falls as the square root of steps / step, without an end (Vaswani et
    al., 2017, arXiv:1706.03762, section 5.3). TensorFlow traces a schedule twice for each weight: those of Keras with a
    warm-up contain conditions, which make a quarter of the time before the first step.
    """

    def __init__(self, learning_rate, steps, decay_steps=None, inverse_sqrt=False):
        super().__init__()
        self.learning_rate = learning_rate
        self.steps = steps
        self.decay_steps = decay_steps
        self.inverse_sqrt = inverse_sqrt

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.learning_rate * ops.minimum((step + 1.0) / self.steps, 1.0)
        if self.inverse_sqrt:
            rate = rate * ops.rsqrt(ops.maximum((step + 1.0) / self.steps, 1.0))
        if self.decay_steps is None:
            return rate
        fallen = ops.clip((step - self.steps) / float(self.decay_steps), 0.0, 1.0)
        return rate * 0.5 * (1.0 + ops.cos(math.pi * fallen))

    def get_config(self):
        names = ("learning_rate", "steps", "decay_steps", "inverse_sqrt")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="latentdiff")
class WarmUpAdamW(keras.optimizers.AdamW):
    """AdamW whose steps are smaller at the beginning. Its `learning_rate` is a number that callbacks may set.

    Args:
        learning_rate: float, or a schedule.
        warmup_steps: steps over which updates rise evenly to their full size.
        kwargs: those of `keras.optimizers.AdamW`.
    """

    def __init__(self, learning_rate=2e-4, warmup_steps=500, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.warmup_steps = warmup_steps

    def update_step(self, gradient, variable, learning_rate):
        share = (ops.cast(self.iterations, "float32") + 1.0) / self.warmup_steps
        super().update_step(gradient, variable, learning_rate * ops.minimum(share, 1.0))

    def get_config(self):
        return {**super().get_config(), "warmup_steps": self.warmup_steps}


def default_optimizer(learning_rate=2e-4):
    """The optimizer of `compile()`: AdamW with a warm-up of 500 steps, clipped gradients and an average of the weights.

    Its learning rate may be set, also by `LearningRateScheduler` and `ReduceLROnPlateau`.
    """
    return WarmUpAdamW(
        learning_rate,
        weight_decay=0.01,
        beta_2=0.99,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.999,
    )


class TrainableModel(keras.Model):
    """A `keras.Model` whose `compile()` needs no argument and for which two fits in a row are one long fit.

    When `fit` ends, Keras replaces the weights by their moving average (`use_ema`). That is what one wants to use, but
    not where training should go on: the next `fit` starts from the weights as they were before. The states of all
    seed generators, those of Dropout layers too, are saved with the weights: a resumed run draws the numbers that it
    would have drawn. With `compile(steps_per_execution=n)` n steps run in one compiled call, on JAX as on TensorFlow.

    All that takes data takes what `fit` takes: a subclass may say in `prepare` how it becomes arrays. A subclass whose
    `compute_loss` returns `replicas.share(loss)` may also be trained under TensorFlow's `MirroredStrategy`.
    """

    fixed_variables = ()  # weights that training leaves as they are, although their own layers are trainable

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # pixels and latents keep their digits; the parts do cast
        # A callback may have work to do before the average takes over, or training breaks off. It must be idempotent.
        self.before_finalize = lambda: None

    @property
    def trainable_variables(self):
        fixed = {id(variable) for variable in self.fixed_variables}
        return [variable for variable in super().trainable_variables if id(variable) not in fixed]

    @property
    def non_trainable_variables(self):
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in trained]

    @property
    def trainable_weights(self):
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in super().trainable_weights if id(variable) in trained]

    @property
    def non_trainable_weights(self):
        trained = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.weights if id(variable) not in trained]

    # === What takes data ===

    def prepare(self, data):
        """`data` as the model computes with it, for instance with token ids in place of captions."""
        return data

    def __call__(self, data, *args, **kwargs):
        return super().__call__(self.prepare(data), *args, **kwargs)

    def evaluate(self, x=None, *args, **kwargs):
        return super().evaluate(self.prepare(x), *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        return super().predict(self.prepare(x), *args, **kwargs)

    def train_on_batch(self, x, *args, **kwargs):
        return super().train_on_batch(self.prepare(x), *args, **kwargs)

    def test_on_batch(self, x, *args, **kwargs):
        return super().test_on_batch(self.prepare(x), *args, **kwargs)

    def predict_on_batch(self, x):
        return super().predict_on_batch(self.prepare(x))

    # === Training ===

    def compile(self, optimizer=None, **kwargs):
        if kwargs.get("loss") is not None:
            raise ValueError(f"`loss` must be None: the model has its own losses. Received: loss={kwargs['loss']!r}")
        super().compile(optimizer=default_optimizer() if optimizer is None else optimizer, **kwargs)
        self._before_average = lambda: None

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self._is_built_whole():
            self.optimizer.build(self.trainable_variables)  # so that a file may hold its state

    def _is_built_whole(self):
        return all(layer.built for layer in self._flatten_layers())

    def make_train_function(self, force=False):
        made = self.train_function is not None and not force
        super().make_train_function(force)
        fused = keras.backend.backend() == "jax" and self.steps_per_execution > 1 and self.jit_compile
        if fused and not made and not self.run_eagerly:
            self.train_function = fuse_steps(self.train_step, self.steps_per_execution)
        return self.train_function

    def fit(self, x=None, *args, validation_data=None, **kwargs):
        self._assert_compile_called("fit")
        refuse_weights(kwargs.get("sample_weight"), kwargs.get("class_weight"))
        if isinstance(validation_data, tuple):
            validation_data = (self.prepare(validation_data[0]), *validation_data[1:])
        elif validation_data is not None:
            validation_data = self.prepare(validation_data)
        kwargs["validation_data"] = validation_data
        self._return_before_average()
        if not self.optimizer.built and self._is_built_whole():
            with self._variable_scope():
                self.optimizer.build(self.trainable_variables)  # or TensorFlow would trace the first step twice
        held = self._held_on_jax()
        finalize = self.optimizer.finalize_variable_values
        handled = sys.exc_info()[1]  # by who calls, if he does so in an `except`

        def finalize_and_remember(variables):
            self.before_finalize()
            error = sys.exc_info()[1]
            if isinstance(error, Exception) and error is not handled:
                return  # training broke off: let the error speak
            if self._averaging_optimizer.use_ema:
                weights = [np.array(ops.convert_to_numpy(variable.value)) for variable, _ in self.averages()]
                self._before_average = lambda: weights  # in a function, out of Keras' tracking
                for variable, average in self.averages():
                    # A copy, since JAX refuses to donate one buffer as weight and as average.
                    variable.assign(ops.copy(average.value))

        self.optimizer.finalize_variable_values = finalize_and_remember
        try:
            return super().fit(self.prepare(x), *args, **kwargs)
        finally:
            self.optimizer.finalize_variable_values = finalize
            self.before_finalize()  # TensorFlow does not finalize what broke off; what did ignores this
            for variable, value in held:
                if variable._value is None:  # Keras takes all values away, and loses them where the first step fails
                    variable.assign(value)

    def _held_on_jax(self):
        """Pairs of a variable and its value, on JAX.

        Raises:
            ValueError: the optimizer was built for other weights than those that are trainable now.
        """
        if keras.backend.backend() != "jax":
            return []
        known = {id(variable) for variable in self._averaging_optimizer._trainable_variables}
        if self.optimizer.built and known != {id(variable) for variable in self.trainable_variables}:
            raise ValueError(
                "`compile` must be called again after weights were frozen or made trainable, on JAX. "
                f"Received: {len(self.trainable_variables)} trainable weights, an optimizer of {len(known)}"
            )
        variables = (*self.variables, *self.metrics_variables, *self.optimizer.variables)
        return [(variable, variable.value) for variable in variables]

    def _variable_scope(self):
        """Within it variables are made for all replicas of TensorFlow's `MirroredStrategy`."""
        strategy = getattr(self, "distribute_strategy", None)  # JAX has none
        return contextlib.nullcontext() if strategy is None else strategy.scope()

    @property
    def _averaging_optimizer(self):
        return getattr(self.optimizer, "inner_optimizer", self.optimizer)  # Keras wraps it under mixed_float16

    def averages(self):
        """Pairs of a weight that is trained and its moving average, both variables.

        A weight that was frozen since `compile` has an average, too, but is in no pair: it must stay as it is.
        """
        optimizer = self._averaging_optimizer
        if not optimizer.use_ema:
            raise ValueError("`optimizer` must have `use_ema=True` for averaged weights. Received: use_ema=False")
        trained = {id(variable) for variable in self.trainable_variables}
        pairs = zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)
        return [(variable, average) for variable, average in pairs if id(variable) in trained and average is not None]

    def _return_before_average(self):
        """Puts the weights back that the last `fit` averaged away, unless they were changed since."""
        weights = self._before_average()
        pairs = [] if weights is None else self.averages()
        if weights is None or len(weights) != len(pairs):  # what is frozen now keeps its average
            return
        values = [[ops.convert_to_numpy(variable.value) for variable in pair] for pair in pairs]
        if all(np.array_equal(value, average) for value, average in values):
            for (variable, _), value in zip(pairs, weights, strict=True):
                variable.assign(value)

    # === Seeds ===

    def seed_generators(self):
        """All seed generators of the model and its layers, its own first."""
        layers = self._flatten_layers(include_self=True)
        found = [self.seed_generator, *(generator for layer in layers for generator in layer._seed_generators)]
        return list({id(generator): generator for generator in found}.values())

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for index, generator in enumerate(self.seed_generators()):
            store[_seed_key(index)] = ops.convert_to_numpy(generator.state.value)

    def load_own_variables(self, store):
        values = {key: store[key] for key in store.keys()}  # noqa: SIM118 (a store is no dict: it has no items)
        for index, generator in enumerate(self.seed_generators()):
            if _seed_key(index) in values:  # files of earlier versions have the first one only
                generator.state.assign(np.array(values[_seed_key(index)]))
        super().load_own_variables({key: value for key, value in values.items() if not key.startswith("seed_state")})


def refuse_weights(sample_weight=None, class_weight=None):
    """Raises ValueError where weights are given, which the losses would ignore."""
    for name, value in {"sample_weight": sample_weight, "class_weight": class_weight}.items():
        if value is not None:
            raise ValueError(f"`{name}` must be None: the losses weigh all images alike. Received: {name}={value!r}")


def _seed_key(index):
    return f"seed_state_{index}" if index else "seed_state"
