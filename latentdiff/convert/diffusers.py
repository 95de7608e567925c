"""Stable Diffusion 1 and 2 from folders in diffusers' layout, or with weights in a single file."""

import re
from pathlib import Path

from latentdiff.convert import networks, schedulers, weights
from latentdiff.convert.configs import read_config, read_json
from latentdiff.convert.folders import weight_files
from latentdiff.convert.hub import local_folder
from latentdiff.convert.original import OriginalFile
from latentdiff.convert.tensors import Tensors
from latentdiff.convert.tokenizers import load_tokenizer
from latentdiff.diffusion.noise_schedule import NoiseSchedule
from latentdiff.models.autoencoder import Autoencoder
from latentdiff.models.latent_diffusion import LatentDiffusion
from latentdiff.models.text_encoder import TextEncoder
from latentdiff.models.unet import UNet

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
# Defaults of diffusers' pipelines; `dpmpp_2m` needs half the steps of the others.
GUIDANCE_SCALE, NUM_STEPS, FEWER_STEPS, SAMPLE_SIZE = 7.5, 50, 25, 64
# Names of the attention in old autoencoders.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_diffusers(source, variant=None, clip_skip=0, weights_file=None, max_chunks=1):
    """Opens Stable Diffusion 1.x or 2.x from a folder that diffusers wrote.

    Args:
        source: the folder, with model_index.json, or hf://OWNER/NAME.
        variant: such as "fp16", of the files of weights; default: those without one, or the only one that is there.
        clip_skip: last layers of the text encoder to leave out.
        weights_file: a `.safetensors` file in the original layout, in place of the weights of the folder.
        max_chunks: longest prompt, in chunks of 77 tokens, see `TextEncoder`.

    Returns:
        model: the `LatentDiffusion`, with float32 weights.
        settings: dict, the arguments that a pipeline takes beside it.

    Raises:
        ValueError: a part of another kind, a setting that has no counterpart here, a tensor that is missing, left over
            or of another shape, a file that is damaged or pickled; names it.
    """
    folder = Path(local_folder(source, variant))
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") not in PIPELINES:
        raise ValueError(
            f"`source` must be a pipeline of {PIPELINES}. Received: {source}, a {index.get('_class_name')}"
        )
    tensors_of = OriginalFile(weights_file) if weights_file else PartsOfFolder(folder, variant)
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    schedule, prediction_type = schedulers.schedule_arguments(scheduler)
    sampler = schedulers.default_sampler(scheduler)
    unet_config = read_config(folder / "unet" / "config.json")
    sample_size = unet_config.take("sample_size", SAMPLE_SIZE)
    autoencoder = load_autoencoder(folder / "vae", tensors_of)
    text_encoder = load_text_encoder(folder / "text_encoder", folder / "tokenizer", tensors_of, clip_skip, max_chunks)
    unet = load_unet(unet_config, tensors_of)
    parts = (autoencoder, text_encoder, unet, NoiseSchedule(**schedule))
    model = LatentDiffusion(*parts, prediction_type=prediction_type)
    return model, default_settings(sampler, sample_size, autoencoder.downsampling)


def default_settings(sampler, sample_size, downsampling):
    """The arguments of a pipeline beside the model.

    Args:
        sampler: name and arguments of the sampler.
        sample_size: side of the latents, or (height, width).
        downsampling: pixels per latent position.
    """
    sides = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return {
        "image_size": tuple(side * downsampling for side in sides),
        "sampler": sampler,
        "num_steps": FEWER_STEPS if sampler["name"] == "dpmpp_2m" else NUM_STEPS,
        "guidance_scale": GUIDANCE_SCALE,
    }


class PartsOfFolder:
    """The weights of all parts, in folders of their own.

    Args:
        path: the folder that holds those.
        variant: see `load_diffusers`.
    """

    def __init__(self, path, variant=None):
        self.path = Path(path)
        self.variant = variant

    def __call__(self, part, network):
        """The `Tensors` of a part, by their present names in diffusers."""
        rename = {"unet": str, "vae": _autoencoder_name, "text_encoder": _text_name}[part]
        return Tensors(weight_files(self.path / part, self.variant), rename)


def load_unet(config, tensors_of):
    """The `UNet` of a `Config`, for text features of any length and latents of any size."""
    channels = config.take("out_channels", 4)
    config.expect(in_channels=channels)
    unet = UNet((None, None, channels), **networks.unet_arguments(config))
    weights.assign(weights.unet_weights(unet), tensors_of("unet", unet), f"unet of {tensors_of.path}")
    return unet


def load_autoencoder(folder, tensors_of):
    """The `Autoencoder` of a folder with a config, with the statistics of its latents."""
    arguments, (mean, std) = networks.autoencoder_arguments(read_config(folder / "config.json"))
    autoencoder = Autoencoder(**arguments)
    weights.assign(
        weights.autoencoder_weights(autoencoder), tensors_of("vae", autoencoder), f"vae of {tensors_of.path}"
    )
    for variable, value in ((autoencoder.latent_mean, mean), (autoencoder.latent_std, std)):
        variable.assign([value] * autoencoder.latent_channels)
    return autoencoder


def load_text_encoder(folder, tokenizer_folder, tensors_of, clip_skip=0, max_chunks=1):
    """The `TextEncoder` of the folders of a `CLIPTextModel` and of its tokenizer. It attends to padding, too."""
    import keras_hub

    arguments = networks.text_arguments(read_config(folder / "config.json"))
    tokenizer = load_tokenizer(tokenizer_folder)
    if tokenizer.vocabulary_size() != arguments["vocabulary_size"]:
        raise ValueError(
            f"The vocabulary in {tokenizer_folder} must have as many entries as the text encoder embeds, "
            f"{arguments['vocabulary_size']}. Received: {tokenizer.vocabulary_size()}"
        )
    backbone = keras_hub.models.CLIPTextEncoder(**arguments)
    length = arguments["max_sequence_length"]
    options = {"mask_padding": False, "clip_skip": clip_skip, "max_chunks": max_chunks}
    text_encoder = TextEncoder(backbone, tokenizer, length, **options)
    weights.assign(
        weights.text_weights(text_encoder),
        tensors_of("text_encoder", text_encoder),
        f"text_encoder of {tensors_of.path}",
    )
    return text_encoder


def _autoencoder_name(name):
    """The present name of a tensor of an autoencoder."""
    return re.sub(r"(?<=attentions\.0\.)(query|key|value|proj_attn)(?=\.)", lambda old: OLD_NAMES[old[0]], name)


def _text_name(name):
    """The name of a tensor of `CLIPTextModel`, which some versions of transformers prefix; None for its positions."""
    name = name.removeprefix("text_model.")
    return None if name == "embeddings.position_ids" else name
