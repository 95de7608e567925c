"""The training model: it joins autoencoder, text encoder, network and noise schedule."""

import functools

import keras
import numpy as np
from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion import noise, objectives
from latentdiff.diffusion.noise_schedule import NoiseSchedule
from latentdiff.models import dtypes, image_members, replicas
from latentdiff.models.lora import Adapters
from latentdiff.models.networks import build_shapes, build_with, check_network, taken_by
from latentdiff.models.trainable_model import TrainableModel, refuse_weights
from latentdiff.settings.texts import as_rows


@keras.saving.register_keras_serializable(package="latentdiff")
class LatentDiffusion(TrainableModel):
    """Latent diffusion as a Keras model: `compile()`, `fit(data)`.

    A step of training takes latents and captions, draws a timestep and noise for each, and asks the network to tell
    the two apart again. The autoencoder stays as it is; so does the text encoder unless its `trainable` is set. With a
    new adapter, `model.lora.add(rank=8)`, or a new word, `text_encoder.words.add("<glimp>")`, these are trained and all
    else stays, see `lora.Adapters` and `words.Words`.

    Args:
        autoencoder: an `Autoencoder`, trained and with its latents measured.
        text_encoder: a `TextEncoder`.
        unet: the network, a `UNet` or any other keras.Model from a dict of `noisy_latents` (batch, h, w, channels),
            `timesteps` (batch,) and the conditioning to a prediction shaped like the latents. A functional model gets
            the members of the conditioning that its inputs name, a subclassed one all. For a preset its class must be
            registered by `keras.saving.register_keras_serializable`, and imported before the preset is opened.
        noise_schedule: a `NoiseSchedule`; default: cosine.
        prediction_type: "noise", "velocity" or "latents": what the network is asked for.
        context_dropout: share of the captions that are replaced by the empty one while training, so that the
            network also learns to do without (Ho and Salimans, arXiv:2207.12598).
        min_snr_gamma: that of the default objective, see `NoiseSchedule.loss_weights`; None weighs all timesteps alike.
        objective: which timesteps are trained and how much their errors count: a name of `objectives.OBJECTIVES`, a
            dict of arguments of `Objective`, or an object with its methods. Default: uniform timesteps, weighted by
            `min_snr_gamma`.
        seed: of timesteps, noise and caption dropout.
        dtype: dtype policy of what this model computes itself; each part keeps its own.

    Call arguments (a dict, as `fit` takes it; arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset` of such dicts):
        images: uint8 or float (batch, height, width, 3), or
        latents: float (batch, h, w, channels), cached ones from `autoencoder.encode`.
        captions: str (batch,) in arrays and lists (see `prepare`), or
        token_ids: int32 (batch, tokens), from `text_encoder.tokenize`, or
        context and context_mask: cached ones from `text_encoder.encode`.
        loss_weights: optional float (batch,), how much the loss of each row counts beside that of its objective.
        Further entries must have the names of what else the network is conditioned on. Those of `image_members` are
        made where they are left out: `image_sizes` for whole images, `masked_latents` of images and random masks.

    Returns:
        A dict of `prediction` and `target`, float32 (batch, h, w, channels), and `weights`, float32 (batch,).

    Raises:
        ValueError: parts that don't fit each other, a prediction type that the schedule makes meaningless, data
            without images or without text.

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752.
    """

    def __init__(
        self,
        autoencoder,
        text_encoder,
        unet,
        noise_schedule=None,
        prediction_type="velocity",
        context_dropout=0.1,
        min_snr_gamma=5.0,
        seed=0,
        objective=None,
        dtype=None,
        name="latent_diffusion",
        **kwargs,
    ):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self._given_dtype = dtypes.given(dtype)
        conditioning_spec, channels = text_encoder.conditioning_spec(), autoencoder.latent_channels
        check_network(unet, channels, {**conditioning_spec, **image_members.specs(channels)})
        if not 0.0 <= context_dropout <= 1.0:
            raise ValueError(f"`context_dropout` must lie in [0, 1]. Received: {context_dropout=}")
        self.autoencoder = autoencoder
        self.text_encoder = text_encoder
        self.unet = unet
        self.conditioning_names = taken_by(unet, conditioning_spec)
        self.noise_schedule = NoiseSchedule() if noise_schedule is None else noise_schedule
        self.noise_schedule.check(prediction_type)
        self.prediction_type = prediction_type
        self.context_dropout = context_dropout
        self.min_snr_gamma = min_snr_gamma
        self.objective = _default_objective(min_snr_gamma) if objective is None else objectives.get(objective)
        self._has_objective = objective is not None
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.lora_layers = []
        self.lora = Adapters(self)
        self.built = True

    @property
    def network(self):
        """The network; `unet` is its older name."""
        return self.unet

    def condition(self, token_ids, training=False):
        """The conditioning of token ids, int32 (batch, tokens): a dict of those members that the network takes."""
        members = self.text_encoder.condition(token_ids, training=training)
        return {name: member for name, member in members.items() if name in self.conditioning_names}

    def condition_without_image(self, token_ids, size):
        """The whole conditioning of token ids where no image is given, for images of `size` (height, width)."""
        members = image_members.of_no_image(self.conditioning_names, self.autoencoder, size, ops.shape(token_ids)[0])
        return {**self.condition(token_ids), **members}

    def conditioning_spec(self, num_tokens=None):
        """`keras.InputSpec`s of the whole conditioning, by name, for any batch of so many tokens."""
        specs = {
            **self.text_encoder.conditioning_spec(num_tokens),
            **image_members.specs(self.autoencoder.latent_channels),
        }
        return {name: spec for name, spec in specs.items() if name in self.conditioning_names}

    @property
    def fixed_variables(self):
        """Weights that stay as they are: the autoencoder's, and while adapters or words are trained all but theirs."""
        adaptations = (*self.lora_layers, *self.text_encoder.word_layers)
        trained = {id(variable) for layer in adaptations for variable in layer.trainable_variables}
        if not trained:
            return self.autoencoder.variables
        return [variable for variable in self.variables if id(variable) not in trained]

    @property
    def revision(self):
        """A number that changes with adapters and words: functions that were compiled for another are out of date."""
        return self.lora.revision + self.text_encoder.words.revision

    def prepare(self, data):
        """A dict of arrays with its `captions`, if any, replaced by `token_ids`; other kinds of data unchanged."""
        if not isinstance(data, dict) or "captions" not in data or _is_symbolic(data["captions"]):
            return data
        rest = {name: np.asarray(values) for name, values in data.items() if name != "captions"}
        count = next((len(values) for values in rest.values() if values.ndim), None)
        return {**rest, "token_ids": self.text_encoder.tokenize(as_rows(data["captions"], "captions", count))}

    def call(self, data, training=False):
        latents = self._latents(data, training)
        timesteps, draws = self._noise(latents, training)
        noisy_latents = self.noise_schedule.add_noise(latents, draws, timesteps)
        conditioning = self._conditioning({**self._image_members(data, latents, training), **data}, training)
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps, **conditioning}
        spec = (self.noise_schedule, self.prediction_type)
        return {
            "prediction": ops.cast(self.network(inputs, training=training), "float32"),
            "target": self.objective.target(latents, draws, timesteps, *spec),
            "weights": self.objective.weights(timesteps, *spec) * loss_weights(data),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        refuse_weights(sample_weight)
        error = ops.mean(ops.square(y_pred["prediction"] - y_pred["target"]), axis=(1, 2, 3))  # (b,)
        return replicas.share(ops.mean(y_pred["weights"] * error))

    def _latents(self, data, training):
        if "latents" in data:
            return ops.cast(data["latents"], "float32")
        if "images" not in data:
            raise ValueError(f"`data` must hold 'images' or 'latents'. Received: {sorted(data)}")
        return ops.stop_gradient(self.autoencoder.encode(data["images"], sample=training, seed=self.seed_generator))

    def _noise(self, latents, training):
        """Timesteps (batch,), spread over their distribution, and noise like the latents; fixed unless training."""
        quantiles, draws = self._draws(latents, training)
        return self.objective.timesteps(quantiles, self.noise_schedule), draws

    def _draws(self, latents, training):
        """Quantiles (batch,) of the timesteps, in [0, 1), and noise like the latents; fixed unless training."""
        rows, count = _rows_of_global_batch(latents)
        offset = keras.random.uniform((), dtype="float32", seed=self.seed_generator) if training else 0.5
        # One offset for the whole batch: each row takes its own slice of time (Kingma et al., arXiv:2107.00630, I.1).
        quantiles = (ops.cast(rows, "float32") + offset) / ops.cast(count, "float32")
        return quantiles, self._draw(latents, ops.shape(latents)[1:], training)

    def _draw(self, latents, shape, training, stream=0):
        """Gaussian numbers (batch, *shape) for the batch of the latents; fixed unless training."""
        if training:
            return replicas.draw(keras.random.normal, (ops.shape(latents)[0], *shape), self.seed_generator)
        return noise.normal(_rows_of_global_batch(latents)[0], shape, stream)

    def _image_members(self, data, latents, training):
        """What the network is conditioned on beside the text, where the data do not hold it."""
        names = set(self.conditioning_names) - set(data)
        draw = functools.partial(self._draw, latents, training=training, stream=1)
        return image_members.of_training(names, self.autoencoder, latents, data.get("images"), draw)

    def _conditioning(self, data, training):
        """The conditioning, with a part of the captions dropped while training."""
        given = {name: data[name] for name in self.conditioning_names if name in data}
        missing = set(self.conditioning_names) - set(given)
        from_text = "token_ids" in data
        if missing - set(self.text_encoder.conditioning_spec() if from_text else ()):
            names = ", ".join(map(repr, self.conditioning_names))
            raise ValueError(
                f"`data` must hold 'captions', 'token_ids' or {names}; captions in a dataset must be 'token_ids', from "
                f"`text_encoder.tokenize`. Received: {sorted(data)}"
            )
        text = {"token_ids": data["token_ids"]} if from_text else given
        if training and self.context_dropout:
            text = self._with_drops(text)
        return {**given, **self.condition(text["token_ids"], training)} if from_text else text

    def _with_drops(self, text):
        """Token ids or members of the conditioning, where those of the empty caption stand in some rows."""
        batch = ops.shape(next(iter(text.values())))[0]
        dropped = replicas.draw(keras.random.uniform, (batch,), self.seed_generator) < self.context_dropout
        null = {"token_ids": ops.convert_to_tensor(self.text_encoder.tokenize([""]))}
        if "token_ids" not in text:
            null = self.condition(null["token_ids"])
        known = {name: text[name] for name in null}  # a member that no text makes has no empty form
        return {**text, **trees.where(dropped, null, known)}

    def get_config(self):
        parts = ("autoencoder", "text_encoder", "unet", "noise_schedule")
        return {
            **{name: keras.saving.serialize_keras_object(getattr(self, name)) for name in parts},
            **build_shapes(self.network),
            "prediction_type": self.prediction_type,
            "context_dropout": self.context_dropout,
            "min_snr_gamma": self.min_snr_gamma,
            "seed": self.seed,
            "objective": keras.saving.serialize_keras_object(self.objective) if self._has_objective else None,
            "name": self.name,
            **self._given_dtype,
            **({"lora": [lora.get_config() for lora in self.lora_layers]} if self.lora_layers else {}),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        shapes, adapters = config.pop("network_shapes", None), config.pop("lora", [])
        for name in ("autoencoder", "text_encoder", "unet", "noise_schedule"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        if shapes is not None:
            build_with(config["unet"], shapes, config["text_encoder"].conditioning_spec())
        model = cls(**config)
        for adapter in adapters:
            model.lora.restore(adapter)
        return model


def _rows_of_global_batch(latents):
    """Indices of the rows of this replica, int32 (batch,), and the size of the global batch."""
    batch, (replica, num_replicas) = ops.shape(latents)[0], replicas.place()
    return ops.arange(batch, dtype="int32") + replica * batch, num_replicas * batch


def loss_weights(data):
    """How much the loss of each row counts, (batch,) or 1."""
    return ops.cast(data["loss_weights"], "float32") if "loss_weights" in data else 1.0


def _is_symbolic(value):
    """Whether a value is a tensor of a graph, whose text is not known yet."""
    return hasattr(value, "dtype") and not hasattr(value, "numpy") and not hasattr(value, "tolist")


def _default_objective(min_snr_gamma):
    weighting = "none" if min_snr_gamma is None else {"name": "min_snr", "gamma": min_snr_gamma}
    return objectives.get({"distribution": "uniform", "weighting": weighting})
