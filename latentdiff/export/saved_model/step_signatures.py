"""The signatures `start` and `advance`: sampling for clients that call `denoise` themselves, step by step."""

import numpy as np
from keras import ops

from latentdiff.diffusion.stepping import Stepper
from latentdiff.export.saved_model import request_bounds as bounds
from latentdiff.settings.table import LARGEST, UNSET

STEP_SIGNATURES = ("start", "advance")


def step_signatures(text_to_image, sampler, max_steps):
    """What the two signatures are made of; what they return under the name of an input is that input from then on.

    Args:
        text_to_image: the `TextToImage`.
        sampler: a `Sampler`.
        max_steps: most steps that a request gets.

    Returns:
        dict of name to (function of the inputs in order, specs of the inputs, their defaults by name); empty for a
        sampler that asks the network more than once a step.
    """
    if sampler.denoiser_calls != 1:
        return {}
    steps = _Steps(text_to_image, sampler, max_steps)
    return {"start": steps.signature(steps.start, steps.begin), "advance": steps.signature(steps.advance, steps.inputs)}


class _Steps:
    """The functions, and their inputs: name to (dtype, shape of a row, default of a row or None)."""

    def __init__(self, text_to_image, sampler, max_steps):
        model, shape = text_to_image.model, text_to_image.latent_shape
        self.text_to_image = text_to_image
        self.max_steps = max_steps
        self.stepper = Stepper(sampler, model.noise_schedule, model.prediction_type, shape)
        latents = ("float32", shape, 0.0)
        self.begin = {row.wire: (row.dtype, row.shape, UNSET) for row in bounds.NUMBERS}
        self.begin |= {"first_step": ("float32", (), 0.0), "latents": latents}
        state = sampler.init_state(ops.zeros((1, *shape)))
        self.inputs = {
            "prediction": ("float32", shape, None),
            "noisy_latents": ("float32", shape, None),
            "step": ("int32", (), None),
            **{
                name: ("float32", tuple(tensor.shape[1:]), None)
                for name, tensor in zip(self.stepper.state_names, state, strict=True)
            },
            "negative_prediction": latents,
            "repaint": ("float32", (*shape[:2], 1), 1.0),
            **self.begin,
        }

    def signature(self, function, inputs):
        import tensorflow as tf

        specs = [tf.TensorSpec((None, *shape), dtype, name=name) for name, (dtype, shape, _) in inputs.items()]
        defaults = {
            name: tf.constant(np.full((1, *shape), default), dtype)
            for name, (dtype, shape, default) in inputs.items()
            if default is not None
        }
        return lambda *values: function(dict(zip(inputs, values, strict=True))), specs, defaults

    def start(self, values):
        """Values of `Stepper.start` and the settings as they are used, seeds that were drawn among them."""
        import tensorflow as tf

        rows = tf.reduce_max([tf.shape(value)[0] for value in values.values()])
        values, settings, warnings = self._bounded(values, rows)
        begun = self.stepper.start(settings["seeds"], settings["num_steps"], values["first_step"], values["latents"])
        return {**begun, **settings, "warnings": warnings.texts}

    def advance(self, values):
        """Values of `Stepper.advance`."""
        import tensorflow as tf

        needed = [name for name, (_, _, default) in self.inputs.items() if default is None]
        values |= dict(zip(needed, bounds.counted(*(values[name] for name in needed)), strict=True))
        rows = tf.shape(values["prediction"])[0]
        values, settings, warnings = self._bounded(values, rows)
        values["step"] = tf.clip_by_value(values["step"], 0, settings["num_steps"])
        moved = self.stepper.advance(**values, **self._limits(rows), **settings)
        return {**moved, "warnings": warnings.texts}

    def _bounded(self, values, rows):
        """The values without settings, the settings within their bounds, all with so many rows; and the warnings."""
        import tensorflow as tf

        values = {name: bounds.spread(value, rows, name) for name, value in values.items()}
        warnings = bounds.Warnings(values["first_step"])
        numbers = {row.wire: values.pop(row.wire) for row in bounds.NUMBERS}
        most = {"num_steps": self.max_steps}
        settings = bounds.bound_settings(numbers, self.text_to_image.defaults, most, warnings)
        first, last = values["first_step"], tf.cast(settings["num_steps"], "float32")
        used = values["first_step"] = tf.clip_by_value(tf.where(tf.math.is_nan(first), 0.0, first), 0.0, last)
        warnings.add(used != first, "`first_step` must lie in [0, num_steps]; the nearest was used.")
        return values, settings, warnings

    def _limits(self, rows):
        """Settings of guidance that are no inputs: those of the model, for each row."""
        import tensorflow as tf

        rescale = self.text_to_image.guidance_rescale
        interval = self.text_to_image.guidance_interval or (0.0, LARGEST)
        limits = {"guidance_rescale": tf.fill([rows], float(rescale))}
        limits["guidance_interval"] = tf.tile(tf.constant([interval], "float32"), [rows, 1])
        served = {row.wire for row in bounds.NUMBERS}
        return {name: value for name, value in limits.items() if name not in served}
