"""What all training models share: good defaults for `compile`, and a moving average of the weights that is safe."""

import math
import sys

import keras
import numpy as np
from keras import ops

from latentdiff.models.fused_steps import fuse_steps


@keras.saving.register_keras_serializable(package="latentdiff")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises evenly to `learning_rate` within `steps`, then stays, or falls to nothing.

    It falls along half a cosine within `decay_steps` more, where they are given (Loshchilov and Hutter, 2016,
    arXiv:1608.03983). TensorFlow traces a schedule twice for each weight: those of Keras with a warm-up contain
    conditions, which make a quarter of the time before the first step.
    """

    def __init__(self, learning_rate, steps, decay_steps=None):
        super().__init__()
        self.learning_rate = learning_rate
        self.steps = steps
        self.decay_steps = decay_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.learning_rate * ops.minimum((step + 1.0) / self.steps, 1.0)
        if self.decay_steps is None:
            return rate
        fallen = ops.clip((step - self.steps) / self.decay_steps, 0.0, 1.0)
        return rate * 0.5 * (1.0 + ops.cos(math.pi * fallen))

    def get_config(self):
        return {"learning_rate": self.learning_rate, "steps": self.steps, "decay_steps": self.decay_steps}


def default_optimizer(learning_rate=2e-4):
    """AdamW with a warm-up of 500 steps, clipped gradients and a moving average of the weights."""
    return keras.optimizers.AdamW(
        WarmUp(learning_rate, 500),
        weight_decay=0.01,
        beta_2=0.99,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.999,
    )


class TrainableModel(keras.Model):
    """A `keras.Model` whose `compile()` needs no argument and for which two fits in a row are one long fit.

    When `fit` ends, Keras replaces the weights by their moving average (`use_ema`). That is what one wants to use, but
    not where training should go on: the next `fit` starts from the weights as they were before. The state of the
    model's `seed_generator` is saved with the weights: a resumed run draws the numbers that it would have drawn. With
    `compile(steps_per_execution=n)` n steps run in one compiled call, on JAX as on TensorFlow.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)  # pixels and latents keep their digits; the parts do cast
        # A callback may want something done before the average takes over, or training breaks off; twice is as once.
        self.before_finalize = lambda: None

    def compile(self, optimizer=None, **kwargs):
        super().compile(optimizer=default_optimizer() if optimizer is None else optimizer, **kwargs)
        self._before_average = lambda: None

    def make_train_function(self, force=False):
        made = self.train_function is not None and not force
        super().make_train_function(force)
        fused = keras.backend.backend() == "jax" and self.steps_per_execution > 1 and self.jit_compile
        if fused and not made and not self.run_eagerly:
            self.train_function = fuse_steps(self.train_step, self.steps_per_execution)
        return self.train_function

    def fit(self, *args, **kwargs):
        self._assert_compile_called("fit")
        self._return_before_average()
        if not self.optimizer.built and all(layer.built for layer in self._flatten_layers()):
            self.optimizer.build(self.trainable_variables)  # or TensorFlow would trace the first step twice
        finalize = self.optimizer.finalize_variable_values
        handled = sys.exc_info()[1]  # by who calls, if he does so in an `except`

        def finalize_and_remember(variables):
            self.before_finalize()
            error = sys.exc_info()[1]
            if isinstance(error, Exception) and error is not handled:
                return  # training broke off: let the error speak
            if self._averaging_optimizer.use_ema:
                weights = [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]
                self._before_average = lambda: weights  # in a function, out of Keras' tracking
            finalize(variables)
            for variable in variables:  # a copy each, since JAX refuses to donate one buffer as weight and as average
                variable.assign(ops.copy(variable.value))

        self.optimizer.finalize_variable_values = finalize_and_remember
        try:
            return super().fit(*args, **kwargs)
        finally:
            self.optimizer.finalize_variable_values = finalize
            self.before_finalize()  # TensorFlow does not finalize what broke off; what did ignores this

    @property
    def _averaging_optimizer(self):
        return getattr(self.optimizer, "inner_optimizer", self.optimizer)  # Keras wraps it under mixed_float16

    def _return_before_average(self):
        """Puts the weights back that the last `fit` averaged away, unless they were changed since."""
        weights = self._before_average()
        if weights is None:
            return
        averages = self._averaging_optimizer._model_variables_moving_average
        pairs = [
            (ops.convert_to_numpy(variable.value), ops.convert_to_numpy(average.value))
            for variable, average in zip(self.trainable_variables, averages, strict=True)
        ]
        if all(np.array_equal(value, average) for value, average in pairs):
            for variable, value in zip(self.trainable_variables, weights, strict=True):
                variable.assign(value)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state.value)

    def load_own_variables(self, store):
        values = {key: store[key] for key in store.keys()}  # noqa: SIM118 (a store is no dict: it has no items)
        if "seed_state" in values:
            self.seed_generator.state.assign(np.array(values.pop("seed_state")))
        super().load_own_variables(values)
