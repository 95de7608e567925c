"""Stable Diffusion 1, 2 and XL from folders in diffusers' layout, or with weights in a single file."""

import re
from pathlib import Path

from latentdiff.convert import networks, schedulers, weights
from latentdiff.convert.configs import read_config, read_json
from latentdiff.convert.folders import weight_files
from latentdiff.convert.hub import local_folder
from latentdiff.convert.original import OriginalFile
from latentdiff.convert.tensors import Tensors
from latentdiff.convert.text_encoders import load_text_encoder, load_two_text_encoders
from latentdiff.diffusion.noise_schedule import NoiseSchedule
from latentdiff.models.autoencoder import Autoencoder
from latentdiff.models.latent_diffusion import LatentDiffusion
from latentdiff.models.unet import UNet

XL = "StableDiffusionXL"
PIPELINES = tuple(f"{kind}{task}Pipeline" for kind in ("StableDiffusion", XL) for task in ("", "Img2Img", "Inpaint"))
# Defaults of diffusers' pipelines; `dpmpp_2m` needs half the steps of the others.
GUIDANCE_SCALE, XL_GUIDANCE_SCALE, NUM_STEPS, FEWER_STEPS, SAMPLE_SIZE = 7.5, 5.0, 50, 25, 64
# Names of the attention in old autoencoders.
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_diffusers(source, variant=None, clip_skip=0, weights_file=None, max_chunks=1):
    """Opens Stable Diffusion 1.x, 2.x or XL from a folder that diffusers wrote.

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
    index = _checked_index(folder, source)
    tensors_of = OriginalFile(weights_file) if weights_file else PartsOfFolder(folder, variant)
    scheduler = read_config(folder / "scheduler" / "scheduler_config.json")
    schedule, prediction_type = schedulers.schedule_arguments(scheduler)
    sampler = schedulers.default_sampler(scheduler)
    unet_config = read_config(folder / "unet" / "config.json")
    sample_size = unet_config.take("sample_size", SAMPLE_SIZE)
    autoencoder = load_autoencoder(folder / "vae", tensors_of)
    text_options = {"clip_skip": clip_skip, "max_chunks": max_chunks}
    if is_xl := index["_class_name"].startswith(XL):
        text_options["zero_empty"] = index.get("force_zeros_for_empty_prompt", True)
    text_encoder = (load_two_text_encoders if is_xl else load_text_encoder)(folder, tensors_of, **text_options)
    unet = load_unet(unet_config, tensors_of)
    parts = (autoencoder, text_encoder, unet, NoiseSchedule(**schedule))
    model = LatentDiffusion(*parts, prediction_type=prediction_type)
    guidance_scale = XL_GUIDANCE_SCALE if is_xl else GUIDANCE_SCALE
    return model, default_settings(sampler, sample_size, autoencoder.downsampling, guidance_scale)


def _checked_index(folder, source):
    """The entries of model_index.json, of a pipeline that can be opened."""
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") not in PIPELINES:
        raise ValueError(
            f"`source` must be a pipeline of {PIPELINES}. Received: {source}, a {index.get('_class_name')}"
        )
    if index.get("requires_aesthetics_score"):
        raise ValueError(f"`source` must be a base model, no refiner. Received: {source}, which needs aesthetic scores")
    return index


def default_settings(sampler, sample_size, downsampling, guidance_scale):
    """The arguments of a pipeline beside the model.

    Args:
        sampler: name and arguments of the sampler.
        sample_size: side of the latents, or (height, width).
        downsampling: pixels per latent position.
        guidance_scale: float.
    """
    sides = (sample_size, sample_size) if isinstance(sample_size, int) else sample_size
    return {
        "image_size": tuple(side * downsampling for side in sides),
        "sampler": sampler,
        "num_steps": FEWER_STEPS if sampler["name"] == "dpmpp_2m" else NUM_STEPS,
        "guidance_scale": guidance_scale,
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
        rename = {"unet": str, "vae": _autoencoder_name}.get(part, _text_name)
        return Tensors(weight_files(self.path / part, self.variant), rename)


def load_unet(config, tensors_of):
    """The `UNet` of a `Config`, for text features of any length and latents of any size."""
    unet = UNet(**networks.unet_arguments(config))
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


def _autoencoder_name(name):
    """The present name of a tensor of an autoencoder."""
    return re.sub(r"(?<=attentions\.0\.)(query|key|value|proj_attn)(?=\.)", lambda old: OLD_NAMES[old[0]], name)


def _text_name(name):
    """The name of a tensor of `CLIPTextModel`, which some versions of transformers prefix; None for its positions."""
    name = name.removeprefix("text_model.")
    return None if name == "embeddings.position_ids" else name
