"""The functions of a served model: what TF Serving calls signatures."""

import inspect

import numpy as np

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion import noise
from latentdiff.export.saved_model import request_bounds as bounds
from latentdiff.export.saved_model.step_signatures import step_signatures
from latentdiff.export.saved_model.text_inputs import Prompts, TokenIds
from latentdiff.models import image_members
from latentdiff.models.coding import coders
from latentdiff.settings.table import GUIDANCE, UNSET

SIGNATURES = ("serving_default", "png", "encode_text", "denoise", "encode_image", "decode")


class Signatures:
    """The graphs of a `TextToImage`, each a pure function of its inputs. Every input and output has the batch in front.

    Args:
        text_to_image: the `TextToImage`.
        weights: `StoredWeights` of its model.
        sampler: a `Sampler`.
        max_steps: most steps that a request gets.
        token_ids: take token ids in place of prompts, so that only TensorFlow's own operators are needed.
    """

    def __init__(self, text_to_image, weights, sampler, max_steps, token_ids=False):
        self.text_to_image = text_to_image
        self.model = text_to_image.model
        self.weights = weights
        self.sampler = sampler
        self.max_steps = max_steps
        self.numbers = bounds.numbers_of(self.model.conditioning_names)
        self.texts = (TokenIds if token_ids else Prompts)(self.model.text_encoder)
        self.encode, self.decode = coders(self.model.autoencoder, text_to_image.tile_size, each=_one_by_one)

    def functions(self):
        """Name to tf.function, for `tf.saved_model.save`."""
        import tensorflow as tf

        size, latent_shape = (*self.text_to_image.image_size, 3), self.text_to_image.latent_shape
        specs, defaults = self._picture_inputs()
        pictures = _graph(self._with_weights(self._pictures), specs, defaults)  # one graph, called by two signatures
        steps = step_signatures(self.text_to_image, self.sampler, self.max_steps)

        def png(*inputs):
            outputs = pictures(*inputs)
            return {"image_bytes": tf.io.encode_png(outputs.pop("images")), **outputs}

        return {
            "serving_default": _graph(lambda *inputs: pictures(*inputs), specs, defaults),
            "png": _graph(png, specs, defaults),
            "encode_text": _graph(self._with_weights(self._encode_text), specs[:1]),
            "denoise": _graph(self._with_weights(self._denoise), self._denoiser_inputs()),
            "encode_image": _graph(self._with_weights(self._encode_image), [_spec("images", "uint8", size)]),
            "decode": _graph(self._with_weights(self._decode), [_spec("latents", "float32", latent_shape)]),
            **{name: _graph(*parts) for name, parts in steps.items()},
        }

    def example(self, count, num_steps):
        """A request for `count` images of nothing: dict of input name to array."""
        specs, defaults = self._picture_inputs()
        values = {name: np.repeat(value.numpy(), count, axis=0) for name, value in defaults.items()}
        values["num_steps"] = np.full(count, num_steps, "int32")
        return {specs[0].name: values[specs[1].name], **values}

    def _pictures(self, texts, negative_texts, *numbers):
        import tensorflow as tf

        name, negative_name = self.texts.name, f"negative_{self.texts.name}"
        (texts,) = bounds.counted(texts)
        batch = tf.shape(texts)[0]
        negative_texts = bounds.spread(negative_texts, batch, negative_name)
        warnings = bounds.Warnings(texts)
        numbers = {
            row.wire: bounds.spread(values, batch, row.wire) for row, values in zip(self.numbers, numbers, strict=True)
        }
        most = {"num_steps": self.max_steps}
        settings = bounds.bound_settings(numbers, self.text_to_image.request_defaults, most, warnings)
        seeds, guidance = settings["seeds"], {row.name: settings.get(row.wire) for row in GUIDANCE}
        token_ids = self.texts.token_ids(texts, name, warnings)
        negative_ids = self.texts.token_ids(negative_texts, negative_name, warnings)
        token_ids = self.model.text_encoder.trim(tf.concat([token_ids, negative_ids], axis=0))
        sizes = image_members.of_settings(self.model.conditioning_names, lambda row: settings[row.wire])
        conditioning = {**self.text_to_image.encode_text(token_ids), **trees.repeated(sizes, 2)}
        noisy_latents = noise.normal(seeds, self.text_to_image.latent_shape)

        def sample(conditioning, **guidance):
            denoiser = self.text_to_image.denoiser(conditioning, **guidance)
            return self.sampler.sample(denoiser, self.model.noise_schedule, noisy_latents, settings["num_steps"], seeds)

        latents = tf.cond(
            tf.reduce_any(guidance["guidance_scale"] != 1.0),
            lambda: sample(conditioning, **guidance),
            lambda: sample(trees.rows(conditioning, None, batch)),  # half the work, where nobody wants guidance
        )
        return {"images": self.decode(latents), "seeds": seeds, "warnings": warnings.texts}

    def _encode_text(self, texts):
        (texts,) = bounds.counted(texts)
        warnings = bounds.Warnings(texts)
        token_ids = self.texts.token_ids(texts, self.texts.name, warnings)
        return {**self.text_to_image.encode_text(token_ids), "warnings": warnings.texts}

    def _denoise(self, *inputs):
        """Noisy latents, timesteps and the members of the conditioning, in the order of their specs."""
        noisy_latents, timesteps, *members = bounds.counted(*inputs)
        conditioning = dict(zip(self.model.conditioning_spec(), members, strict=True))
        timesteps = bounds.bound_timesteps(timesteps, self.model.noise_schedule)
        prediction = self.model.network({"noisy_latents": noisy_latents, "timesteps": timesteps, **conditioning})
        split = self.model.noise_schedule.split(prediction, noisy_latents, timesteps, self.model.prediction_type)
        return {"prediction": prediction, **dict(zip(("pred_latents", "pred_noise"), split, strict=True))}

    def _encode_image(self, images):
        (images,) = bounds.counted(images)
        return {"latents": self.encode(images)}

    def _decode(self, latents):
        (latents,) = bounds.counted(latents)
        return {"images": self.decode(latents)}

    # === Inputs ===

    def _picture_inputs(self):
        """Specs of the inputs of an image, and the defaults of all but the first by name."""
        import tensorflow as tf

        texts = self.texts
        specs = [
            _spec(texts.name, texts.dtype, texts.shape),
            _spec(f"negative_{texts.name}", texts.dtype, texts.shape),
            *(_spec(row.wire, row.dtype, row.shape) for row in self.numbers),
        ]
        values = [texts.empty, *(np.full((1, *row.shape), UNSET) for row in self.numbers)]
        defaults = {spec.name: tf.constant(value, spec.dtype) for value, spec in zip(values, specs[1:], strict=True)}
        return specs, defaults

    def _denoiser_inputs(self):
        conditioning = self.model.conditioning_spec()
        return [
            _spec("noisy_latents", "float32", self.text_to_image.latent_shape),
            _spec("timesteps", "float32"),
            *(_spec(name, spec.dtype, spec.shape[1:]) for name, spec in conditioning.items()),
        ]

    def _with_weights(self, function):
        """`function`, which reads the stored weights."""

        def with_weights(*inputs):
            with self.weights.in_place():
                return function(*inputs)

        return with_weights


def _graph(function, specs, defaults=None):
    """`function` as a graph; `defaults` are those of its inputs by name."""
    import tensorflow as tf

    def call(*inputs):
        return function(*inputs)

    # TensorFlow makes the defaults of the arguments those of the signature's inputs, and reads them here.
    kind, defaults = inspect.Parameter.POSITIONAL_OR_KEYWORD, defaults or {}
    call.__signature__ = inspect.Signature(
        [inspect.Parameter(spec.name, kind, default=defaults.get(spec.name, inspect.Parameter.empty)) for spec in specs]
    )
    return tf.function(call, input_signature=specs, autograph=False)


def _one_by_one(function, parts):
    """What `function` makes of each tile: in a graph a tile waits for the one before it, which bounds the memory."""
    import tensorflow as tf

    made = tf.map_fn(function, tf.stack(parts), parallel_iterations=1, fn_output_signature="float32")
    return tf.unstack(made, num=len(parts))


def _spec(name, dtype, shape=()):
    import tensorflow as tf

    return tf.TensorSpec((None, *shape), dtype, name=name)
