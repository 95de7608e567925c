"""Folders in diffusers' layout on the Hugging Face Hub."""

SCHEME = "hf://"
PARTS = {
    **dict.fromkeys(("unet", "vae"), "diffusion_pytorch_model"),
    **dict.fromkeys(("text_encoder", "text_encoder_2"), "model"),
}
TOKENIZERS = [f"{folder}/{file}" for folder in ("tokenizer", "tokenizer_2") for file in ("*.json", "merges.txt")]
SETTINGS = ("model_index.json", "*/config.json", "scheduler/*.json", *TOKENIZERS)


def local_folder(source, variant=None):
    """`source`, or the local copy of what `hf://OWNER/NAME` names.

    The client of the hub downloads what an import needs into its cache, once. It takes its settings from the
    environment: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE.

    Args:
        source: a folder, or hf://OWNER/NAME.
        variant: that of the files of weights.

    Raises:
        ValueError: no such repository, or one that can't be reached; `huggingface_hub` is not installed.
    """
    if not str(source).startswith(SCHEME):
        return source
    try:
        import huggingface_hub
    except ImportError as error:
        raise ValueError(f"{source} needs huggingface_hub: pip install 'latentdiff[hub]'") from error
    repository = source.removeprefix(SCHEME)
    try:
        return huggingface_hub.snapshot_download(repository, allow_patterns=_patterns(variant))
    except (huggingface_hub.errors.HfHubHTTPError, ValueError, OSError) as error:
        raise ValueError(f"`source` must be hf://OWNER/NAME of a repository. Received: {source} ({error})") from error


def _patterns(variant):
    """Patterns of the files to download: settings, and the weights of one variant."""
    middle = f".{variant}" if variant else ""
    files = [
        f"{part}/{stem}{rest}"
        for part, stem in PARTS.items()
        for rest in (f"{middle}.safetensors", f"{middle}-*-of-*.safetensors", "*.index*.json")
    ]
    return [*SETTINGS, *files]
