"""Text encoders of CLIP from folders of transformers: one, or the two of Stable Diffusion XL."""

from latentdiff.convert import networks, weights
from latentdiff.convert.configs import read_config
from latentdiff.convert.tokenizers import load_tokenizer
from latentdiff.models.clip_pair import ClipPair
from latentdiff.models.text_encoder import TextEncoder


def load_text_encoder(folder, tensors_of, clip_skip=0, max_chunks=1):
    """The `TextEncoder` of a `CLIPTextModel`. It attends to padding, too.

    Args:
        folder: Path, with the folders `text_encoder` and `tokenizer`.
        tensors_of: function from the name of a part and its network to `Tensors`.
        clip_skip: last layers to leave out.
        max_chunks: longest prompt, in chunks, see `TextEncoder`.

    Raises:
        ValueError: as `convert.diffusers.load_diffusers`.
    """
    import keras_hub

    arguments = _arguments(folder / "text_encoder")
    tokenizer = _tokenizer(folder / "tokenizer", arguments)
    # By its name layers have the same paths when it is opened from a preset.
    backbone = keras_hub.models.CLIPTextEncoder(**arguments, name="clip_text_encoder")
    length = arguments["max_sequence_length"]
    options = {"mask_padding": False, "clip_skip": clip_skip, "max_chunks": max_chunks}
    text_encoder = TextEncoder(backbone, tokenizer, length, **options)
    _assign(weights.text_parts(text_encoder), tensors_of)
    return text_encoder


def load_two_text_encoders(folder, tensors_of, clip_skip=0, max_chunks=1, zero_empty=True):
    """The `TextEncoder` of a `CLIPTextModel` and a `CLIPTextModelWithProjection`, around a `ClipPair`.

    Args:
        folder: Path, with the folders `text_encoder`, `tokenizer`, `text_encoder_2` and `tokenizer_2`.
        tensors_of: function from the name of a part and its network to `Tensors`.
        clip_skip: layers to leave out beside the last one.
        max_chunks: longest prompt, in chunks, see `TextEncoder`.
        zero_empty: whether the empty prompt has zeros for features.

    Raises:
        ValueError: tokenizers that differ by more than their padding, else as `convert.diffusers.load_diffusers`.
    """
    names = ("text_encoder", "text_encoder_2")
    clips = [_arguments(folder / name) for name in names]
    tokenizer, second = (
        _tokenizer(folder / name, arguments)
        for name, arguments in zip(("tokenizer", "tokenizer_2"), clips, strict=True)
    )
    _check_alike(tokenizer, second, folder)
    backbone = ClipPair(
        *clips,
        projection_dim=read_config(folder / names[1] / "config.json").take("projection_dim", 512),
        skipped_layers=1 + clip_skip,
        second_pad_id=second.end_token_id if second.pad_with_end_token else 0,
    )
    length = backbone.max_sequence_length
    options = {"mask_padding": False, "zero_empty": zero_empty, "max_chunks": max_chunks}
    text_encoder = TextEncoder(backbone, tokenizer, length, **options)
    _assign(weights.text_parts(text_encoder), tensors_of)
    return text_encoder


def _arguments(folder):
    return networks.text_arguments(read_config(folder / "config.json"))


def _tokenizer(folder, arguments):
    """The tokenizer of a folder, whose vocabulary is that of a text encoder with these arguments."""
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocabulary_size() != arguments["vocabulary_size"]:
        raise ValueError(
            f"The vocabulary in {folder} must have as many entries as the text encoder embeds, "
            f"{arguments['vocabulary_size']}. Received: {tokenizer.vocabulary_size()}"
        )
    return tokenizer


def _check_alike(first, second, folder):
    """`ClipPair` reads the token ids of one tokenizer, and finds the end mark as the largest."""
    if first.vocabulary != second.vocabulary or first.merges != second.merges:
        raise ValueError(f"`tokenizer` and `tokenizer_2` in {folder} must be equal but for their padding.")
    if first.end_token_id != first.vocabulary_size() - 1:
        raise ValueError(
            f"The end mark must be the last entry of the vocabulary in {folder / 'tokenizer'}. "
            f"Received: entry {first.end_token_id} of {first.vocabulary_size()}"
        )


def _assign(parts, tensors_of):
    for part, (network, variables) in parts.items():
        weights.assign(variables, tensors_of(part, network), f"{part} of {tensors_of.path}")
