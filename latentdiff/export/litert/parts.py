"""The parts of a text-to-image model as functions of tensors of fixed shape: what each LiteRT file computes."""

import dataclasses
from collections.abc import Callable

import keras
from keras import ops

from latentdiff.diffusion import conditioning as trees
from latentdiff.diffusion import noise, samplers
from latentdiff.diffusion.denoiser import Denoiser
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.models import pixels
from latentdiff.models.networks import with_conditioning

PARTS = ("text_encoder", "denoiser", "decoder", "encoder", "pipeline")


@dataclasses.dataclass
class Part:
    """A function that becomes a file.

    Attributes:
        function: tensors by name -> dict of tensors.
        models: the keras.Models whose weights it reads.
        inputs: names to `keras.InputSpec`s of fixed shape.
        on_gpu: whether runtimes may take it to a GPU, which computes in float16.
    """

    function: Callable
    models: list
    inputs: dict
    on_gpu: bool = True


def parts(text_to_image, num_tokens, rows, single_file):
    """The parts of a `TextToImage`.

    Args:
        text_to_image: the `TextToImage`.
        num_tokens: length of the token ids.
        rows: examples in one call of the denoiser; guidance needs two a step.
        single_file: also make "pipeline", the whole way from token ids to the image.

    Returns:
        dict of names to `Part`s.
    """
    model = text_to_image.model
    unet = with_conditioning(model.network, model.conditioning_spec(num_tokens))
    made = {
        "text_encoder": _text_encoder(text_to_image, num_tokens),
        "denoiser": _denoiser(text_to_image, unet, num_tokens, rows),
        "decoder": _decoder(text_to_image),
        "encoder": _encoder(text_to_image),
    }
    if single_file:
        made["pipeline"] = _pipeline(text_to_image, unet, num_tokens)
    return made


def _spec(*shape, dtype="float32"):
    return keras.InputSpec(shape=shape, dtype=dtype)


def _text_encoder(text_to_image, num_tokens):
    def encode_text(token_ids):
        return trees.as_floats(text_to_image.encode_text(token_ids))

    # Not the whole text encoder: the tables of some tokenizers would come along, which LiteRT does not have.
    models = [text_to_image.model.text_encoder.sequence_model]
    return Part(encode_text, models, {"token_ids": _spec(1, num_tokens, dtype="int32")})


def _denoiser(text_to_image, unet, num_tokens, rows):
    conditioning = trees.with_batch(text_to_image.model.conditioning_spec(num_tokens), rows)

    def denoise(noisy_latents, timesteps, **members):
        inputs = {"noisy_latents": noisy_latents, "timesteps": timesteps, **trees.from_floats(members, conditioning)}
        return {"prediction": unet({name: ops.convert_to_tensor(value) for name, value in inputs.items()})}

    inputs = {
        "noisy_latents": _spec(rows, *text_to_image.latent_shape),
        "timesteps": _spec(rows),
        **{name: _spec(*spec.shape) for name, spec in conditioning.items()},
    }
    return Part(denoise, [unet], inputs)


def _decoder(text_to_image):
    autoencoder = text_to_image.model.autoencoder
    return Part(
        lambda latents: {"images": autoencoder.decode(latents)},
        [autoencoder],
        {"latents": _spec(1, *text_to_image.latent_shape)},
    )


def _encoder(text_to_image):
    autoencoder = text_to_image.model.autoencoder
    return Part(
        lambda images: {"latents": autoencoder.encode(images)},
        [autoencoder],
        {"images": _spec(1, *text_to_image.image_size, 3)},
    )


def _pipeline(text_to_image, unet, num_tokens):
    model, sampler = text_to_image.model, samplers.get(text_to_image.sampler)

    def make_picture(token_ids, negative_token_ids, seed, num_steps, guidance_scale):
        conditioning = text_to_image.encode_text(ops.concatenate([token_ids, negative_token_ids]))
        plain = Denoiser(unet, model.noise_schedule, model.prediction_type, conditioning)
        limits = text_to_image.guidance_rescale, text_to_image.guidance_interval
        denoiser = ClassifierFreeGuidance(plain, guidance_scale, *limits)
        noisy_latents = noise.normal(seed, text_to_image.latent_shape)
        latents = sampler.sample(denoiser, model.noise_schedule, noisy_latents, num_steps, seed)
        return {"images": pixels.to_uint8(model.autoencoder.decode(latents))}

    inputs = {
        "token_ids": _spec(1, num_tokens, dtype="int32"),
        "negative_token_ids": _spec(1, num_tokens, dtype="int32"),
        "seed": _spec(1, dtype="int32"),
        "num_steps": _spec(1, dtype="int32"),
        "guidance_scale": _spec(1),
    }
    return Part(make_picture, [model.text_encoder.sequence_model, unet, model.autoencoder], inputs, on_gpu=False)
