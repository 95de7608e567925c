"""Text features of prompts whose words and parts have weights."""

import numpy as np
from keras import ops

from latentdiff.diffusion import conditioning as trees


def encode(parsed, text_encoder, encode_text):
    """Text features of prompts with weights and mixtures.

    A word of weight w stands for null + w (feature - null), with the mean feature of the empty prompt: 0 says nothing,
    1 is the word itself, more exaggerates it. A contextual encoder has told the other words about it; these stay.

    Args:
        parsed: list of n parsed prompts, see `prompt_syntax.parse`.
        text_encoder: the `TextEncoder`.
        encode_text: function from token ids to a conditioning, `Pipeline.encode_text`.

    Returns:
        conditioning: that of parts * n rows, the first parts of all prompts in front.
        shares: those of the parts, a float32 array (n,) for each; or None where no prompt is a mixture.
    """
    count = max(map(len, parsed))
    rows = [parts[min(place, len(parts) - 1)] for place in range(count) for parts in parsed]
    shares = np.array([[part.share for part in parts] + [0.0] * (count - len(parts)) for parts in parsed], "float32")
    shares = tuple(shares.T) if count > 1 else None
    if not any(part.weighted for part in rows):
        return encode_text(text_encoder.trim(text_encoder.tokenize([part.text for part in rows]))), shares
    token_ids, weights = zip(*(text_encoder.tokenize_pieces(part.pieces) for part in rows), strict=True)
    (empty,) = text_encoder.tokenize([""])
    token_ids = text_encoder.trim(np.stack([*token_ids, empty]))
    encoded = encode_text(token_ids)
    conditioning, null = trees.rows(encoded, None, -1), trees.rows(encoded, -1, None)
    visible = ops.cast(text_encoder.mask(token_ids[-1:])[:, :, None], "float32")  # (1, tokens, 1)
    extra = np.stack(weights)[:, : token_ids.shape[1], None] - 1.0  # (parts * n, tokens, 1)
    for name in text_encoder.token_features:
        features = conditioning[name]  # (parts * n, tokens, dim)
        mean = ops.sum(visible * null[name], axis=1, keepdims=True) / ops.sum(visible)  # (1, 1, dim)
        conditioning[name] = features + extra * (features - mean)
    return conditioning, shares
