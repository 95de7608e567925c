"""Folders in diffusers' layout on the Hugging Face Hub."""

from latentdiff.presets import hub

PARTS = {
    **dict.fromkeys(("unet", "vae"), "diffusion_pytorch_model"),
    **dict.fromkeys(("text_encoder", "text_encoder_2"), "model"),
}
TOKENIZERS = [f"{folder}/{file}" for folder in ("tokenizer", "tokenizer_2") for file in ("*.json", "merges.txt")]
SETTINGS = ("model_index.json", "*/config.json", "scheduler/*.json", *TOKENIZERS)


def local_folder(source, variant=None):
    """`source`, or the local copy of what an import needs of hf://OWNER/NAME, see `presets.hub.download`.

    Args:
        source: a folder, or hf://OWNER/NAME.
        variant: that of the files of weights.
    """
    return hub.download(source, _patterns(variant)) if str(source).startswith(hub.HF) else source


def _patterns(variant):
    """Patterns of the files to download: settings, and the weights of one variant."""
    middle = f".{variant}" if variant else ""
    files = [
        f"{part}/{stem}{rest}"
        for part, stem in PARTS.items()
        for rest in (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors", "*.index*.json")
    ]
    return [*SETTINGS, *files]
