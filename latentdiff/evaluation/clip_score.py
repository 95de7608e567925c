import numpy as np
from keras import ops

from latentdiff.evaluation.extract_features import extract_features


def clip_score(image_encoder, text_encoder, images, prompts, batch_size=32):
    """Similarity of each image to its prompt, in a feature space shared by images and texts.

    Args:
        image_encoder: `keras.Model` or callable from images, float [-1, 1], (batch, height, width, 3), to (batch, dim).
        text_encoder: callable from a list of strings to (batch, dim).
        images: uint8 [0, 255] array (n, height, width, 3).
        prompts: n strings.
        batch_size: images and prompts per call.

    Returns:
        float32 array (n,): the plain cosine, in [-1, 1].

    Raises:
        ValueError: different numbers of images and prompts, or features of different lengths.

    Reference:
        Hessel et al., CLIPScore: A Reference-free Evaluation Metric for Image Captioning, 2021 (there scaled by 2.5
        and cut off at 0).
    """
    if len(images) != len(prompts):
        raise ValueError(f"`prompts` must be one for each image. Received: {len(prompts)} for {len(images)} images")
    image_features = extract_features(image_encoder, images, batch_size)
    starts = range(0, len(prompts), batch_size)
    text_features = [ops.convert_to_numpy(text_encoder(list(prompts[i : i + batch_size]))) for i in starts]
    text_features = np.concatenate(text_features).astype("float32")
    if image_features.shape != text_features.shape:
        raise ValueError(
            "`image_encoder` and `text_encoder` must give features of the same shape. "
            f"Received: {image_features.shape} and {text_features.shape}"
        )
    lengths = np.linalg.norm(image_features, axis=1) * np.linalg.norm(text_features, axis=1)
    return np.sum(image_features * text_features, axis=1) / np.maximum(lengths, 1e-12)
