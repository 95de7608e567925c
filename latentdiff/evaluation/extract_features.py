import numpy as np
from keras import ops

from latentdiff.models.pixels import to_float


def extract_features(model, images, batch_size=32):
    """Features of many images, in batches of equal size, so that the model compiles once.

    Args:
        model: `keras.Model` or any callable from images, float [-1, 1], (batch, height, width, 3), to features
            (batch, dim). A `keras.Model` runs compiled.
        images: uint8 [0, 255] array (n, height, width, 3), or an iterable of such arrays, each of any length, when
            all of them do not fit into memory.
        batch_size: images per call.

    Returns:
        float32 array (n, dim).

    Raises:
        ValueError: images of another dtype or shape, no image at all, or features that are no vectors.
    """
    predict = getattr(model, "predict_on_batch", model)
    features = [
        _call_padded(predict, chunk[start : start + batch_size], batch_size)
        for chunk in ([images] if isinstance(images, np.ndarray) else images)
        for start in range(0, len(_check_images(chunk)), batch_size)
    ]
    if not features:
        raise ValueError("`images` must hold at least one image. Received: none")
    return np.concatenate(features)


def _call_padded(predict, images, batch_size):
    padded = np.pad(images, [(0, batch_size - len(images)), (0, 0), (0, 0), (0, 0)])
    features = ops.convert_to_numpy(predict(ops.convert_to_numpy(to_float(padded))))
    if features.ndim != 2:
        raise ValueError(f"`model` must give features (batch, dim). Received: features of shape {features.shape}")
    return features[: len(images)].astype("float32")


def _check_images(images):
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            "`images` must be uint8 of shape (n, height, width, 3). "
            f"Received: images of dtype {images.dtype} and shape {images.shape}"
        )
    return images
