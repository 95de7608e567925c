"""Models of Stable Diffusion's architecture as folders in diffusers' layout."""

import json
from pathlib import Path

from keras import ops

from latentdiff.convert import networks, schedulers, weights
from latentdiff.convert.tokenizers import save_tokenizer
from latentdiff.diffusion import samplers
from latentdiff.whole_files import draft_of

INDEX = {
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def save_diffusers(model, settings, folder, float16=False):
    """Writes a folder that `DiffusionPipeline.from_pretrained` opens.

    Args:
        model: a `LatentDiffusion` whose parts have counterparts in diffusers.
        settings: dict, the arguments that a pipeline takes beside it; diffusers has a place for `image_size` and
            `sampler` alone.
        folder: one that is not there yet; it appears whole or not at all.
        float16: store the weights with half the bits.

    Raises:
        ValueError: a part, or an argument of one, that diffusers does not have; names it.
    """
    configs, variables = _configs(model, settings), _variables(model)
    with draft_of(Path(folder)) as draft:
        for part, config in configs.items():
            name = "scheduler_config.json" if part == "scheduler" else "config.json"
            _write_json(draft / part / name, config)
        scheduler = configs["scheduler"]["_class_name"]
        index = {**INDEX, "_class_name": _class_name(model.unet), "scheduler": ["diffusers", scheduler]}
        _write_json(draft / "model_index.json", index)
        text_encoder = model.text_encoder
        save_tokenizer(text_encoder.tokenizer, draft / "tokenizer", text_encoder.sequence_length)
        for part, named in variables.items():
            _write_weights(draft / part, named, "float16" if float16 else "float32")


def _configs(model, settings):
    """The configs of all parts, which are also the check that diffusers has them."""
    autoencoder = model.autoencoder
    for name, part in (("UNet", model.unet), ("CLIPTextEncoder", model.text_encoder.backbone)):
        if type(part).__name__ != name:
            raise ValueError(f"`model` must have a {name} for diffusers. Received: a {type(part).__name__}")
    statistics = (ops.convert_to_numpy(value).tolist() for value in (autoencoder.latent_mean, autoencoder.latent_std))
    sampler = samplers.get(settings["sampler"])
    named = {**samplers.as_dict(settings["sampler"]), "spacing": sampler.spacing}
    size = [side // autoencoder.downsampling for side in settings["image_size"]]
    return {
        "scheduler": schedulers.scheduler_config(model.noise_schedule, model.prediction_type, named),
        "text_encoder": networks.text_config(model.text_encoder),
        "unet": networks.unet_config(model.unet, size[0] if size[0] == size[1] else size),
        "vae": networks.autoencoder_config(autoencoder, *statistics),
    }


def _class_name(unet):
    """The pipeline that diffusers has for a U-Net."""
    return f"StableDiffusion{'Inpaint' if unet.sees_mask else ''}Pipeline"


def _variables(model):
    return {
        "text_encoder": weights.text_weights(model.text_encoder),
        "unet": weights.unet_weights(model.unet),
        "vae": weights.autoencoder_weights(model.autoencoder),
    }


def _write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_weights(folder, variables, dtype):
    from safetensors.numpy import save_file

    stem = "model" if folder.name == "text_encoder" else "diffusion_pytorch_model"
    # transformers wants to know that the layout of the tensors is that of PyTorch.
    save_file(weights.arrays(variables, dtype), folder / f"{stem}.safetensors", {"format": "pt"})
