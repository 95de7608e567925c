"""Models of Stable Diffusion's architecture as folders in diffusers' layout."""

import json
from pathlib import Path

from keras import ops

from latentdiff.convert import networks, schedulers, weights
from latentdiff.convert.tokenizers import save_tokenizer
from latentdiff.diffusion import samplers
from latentdiff.models.clip_pair import ClipPair
from latentdiff.whole_files import draft_of

INDEX = {
    "_diffusers_version": "0.42.0",  # whose layout this is; it refuses to open an inpainting pipeline of none
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
WITHOUT_CHECKER = {"requires_safety_checker": False, "safety_checker": [None, None]}
OUTSIDE = ("text_projection.weight",)
SECOND = {
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
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
        _write_json(draft / "model_index.json", _index(model, configs["scheduler"]["_class_name"]))
        for name, pad_id in _pad_ids(model.text_encoder).items():
            save_tokenizer(model.text_encoder.tokenizer, draft / name, model.text_encoder.sequence_length, pad_id)
        for part, named in variables.items():
            _write_weights(draft / part, named, "float16" if float16 else "float32")


def _index(model, scheduler):
    """The entries of model_index.json."""
    is_xl = isinstance(model.text_encoder.backbone, ClipPair)
    kind, task = "StableDiffusionXL" if is_xl else "StableDiffusion", "Inpaint" if model.unet.sees_mask else ""
    second = {**SECOND, "force_zeros_for_empty_prompt": model.text_encoder.zero_empty}
    scheduler = {"scheduler": ["diffusers", scheduler]}
    return {**INDEX, "_class_name": f"{kind}{task}Pipeline", **scheduler, **(second if is_xl else WITHOUT_CHECKER)}


def _pad_ids(text_encoder):
    """The token that fills short prompts, for each folder of a tokenizer."""
    backbone = text_encoder.backbone
    second = {"tokenizer_2": backbone.second_pad_id} if isinstance(backbone, ClipPair) else {}
    return {"tokenizer": text_encoder.pad_id, **second}


def _configs(model, settings):
    """The configs of all parts, which are also the check that diffusers has them."""
    autoencoder = model.autoencoder
    for names, part in ((("UNet",), model.unet), (("CLIPTextEncoder", "ClipPair"), model.text_encoder.backbone)):
        if type(part).__name__ not in names:
            raise ValueError(f"`model` must have a {' or '.join(names)} for diffusers. Received: {type(part).__name__}")
    statistics = (ops.convert_to_numpy(value).tolist() for value in (autoencoder.latent_mean, autoencoder.latent_std))
    sampler = samplers.get(settings["sampler"])
    named = {**samplers.as_dict(settings["sampler"]), "spacing": sampler.spacing}
    size = [side // autoencoder.downsampling for side in settings["image_size"]]
    return {
        "scheduler": schedulers.scheduler_config(model.noise_schedule, model.prediction_type, named),
        **networks.text_configs(model.text_encoder),
        "unet": networks.unet_config(model.unet, size[0] if size[0] == size[1] else size),
        "vae": networks.autoencoder_config(autoencoder, *statistics),
    }


def _variables(model):
    return {
        **{part: variables for part, (_, variables) in weights.text_parts(model.text_encoder).items()},
        "unet": weights.unet_weights(model.unet),
        "vae": weights.autoencoder_weights(model.autoencoder),
    }


def _write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_weights(folder, variables, dtype):
    from safetensors.numpy import save_file

    stem = "model" if folder.name.startswith("text_encoder") else "diffusion_pytorch_model"
    if folder.name == "text_encoder_2":  # `CLIPTextModelWithProjection` keeps the model apart from the projection
        variables = {name if name in OUTSIDE else f"text_model.{name}": each for name, each in variables.items()}
    # transformers wants to know that the layout of the tensors is that of PyTorch.
    save_file(weights.arrays(variables, dtype), folder / f"{stem}.safetensors", {"format": "pt"})
