"""Networks that turn images into feature vectors, for the metrics that compare features."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from latentdiff.models.npz_weights import fill_model, read_arrays

# (repeats, kernel size, stride of the first, whether the channels are expanded) of the stages of EfficientNet-Lite0.
STAGES = [
    (1, 3, 1, False),
    (2, 3, 2, True),
    (2, 5, 2, True),
    (3, 3, 2, True),
    (3, 5, 1, True),
    (4, 5, 2, True),
    (1, 3, 1, True),
]
NORM_PARTS = ("gamma", "beta", "mean", "variance")
NORM_EPSILON = 1e-3


def load_feature_model(path):
    """Loads a feature model by the kind of its file.

    Args:
        path: an `.npz` file with the weights of EfficientNet-Lite0, or a `.keras` file of any model that maps images,
            float [-1, 1], (batch, height, width, 3), to features (batch, dim).

    Returns:
        `keras.Model`.

    Raises:
        ValueError: the file is missing or of another kind.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return efficientnet_lite0(path)
    if path.suffix == ".keras" and path.exists():
        return keras.saving.load_model(path, compile=False)
    raise ValueError(f"`path` must be an existing `.npz` or `.keras` file. Received: path={str(path)!r}")


def efficientnet_lite0(path, image_size=224):
    """EfficientNet-Lite0 without its classifier, frozen, in float32.

    Its features are not those of InceptionV3: distances measured with them can't be compared with published FIDs.

    Args:
        path: `.npz` file with the arrays `stem/kernel`, `stem/norm/gamma` ... `head/norm/variance`. The widths are
            read from it, and the normalizations are folded into the convolutions.
        image_size: images of another size are resized to this one first (bilinear, antialiased).

    Returns:
        `keras.Model`: images, float [-1, 1], (batch, height, width, 3) -> float32 features (batch, 1280).

    Raises:
        ValueError: the file is missing or holds other arrays.

    Reference:
        Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019. "Lite" has relu6
        for swish and no squeeze-and-excitation.
    """
    arrays = _read_folded(path)
    images = keras.layers.Input((None, None, 3), dtype="float32", name="images")
    x = ops.image.resize(
        images, (image_size, image_size), interpolation="bilinear", antialias=True, data_format="channels_last"
    )
    x = keras.layers.Rescaling(127.5 / 128, 0.5 / 128, dtype="float32")(x)  # (pixel of 255 - 127) / 128
    x = _convolution(x, "stem", arrays, stride=2)
    for name, stride, expanded, skipped in _blocks():
        shortcut = x
        if expanded:
            x = _convolution(x, f"{name}/expand", arrays)
        x = _convolution(x, f"{name}/depthwise", arrays, stride)
        x = _convolution(x, f"{name}/project", arrays, activation=None)
        if skipped:
            x = x + shortcut
    x = _convolution(x, "head", arrays)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32", name="features")(x)
    model = keras.Model(images, x, name="efficientnet_lite0", trainable=False)
    fill_model(model, arrays, path)
    return model


def _blocks():
    """(name, stride, whether expanded, whether its input is added) of each block."""
    blocks = []
    for repeats, _, first_stride, expanded in STAGES:
        for repeat in range(repeats):
            blocks.append((f"block{len(blocks)}", 1 if repeat else first_stride, expanded, repeat > 0))
    return blocks


def _convolution(x, name, arrays, stride=1, activation="relu6"):
    """A convolution named after its arrays, which tell its size."""
    height, width, _, filters = arrays[f"{name}/kernel"].shape
    options = {"strides": stride, "padding": "same", "activation": activation, "dtype": "float32"}
    options |= {"data_format": "channels_last", "name": name.replace("/", "_")}
    if name.endswith("depthwise"):
        return keras.layers.DepthwiseConv2D((height, width), **options)(x)
    return keras.layers.Conv2D(filters, (height, width), **options)(x)


def _read_folded(path):
    """Kernel and bias of each convolution, with the normalization behind it folded in."""
    parts = [("expand", "depthwise", "project")[not expanded :] for _, _, expanded, _ in _blocks()]
    layers = ["stem", *(f"block{i}/{part}" for i, names in enumerate(parts) for part in names), "head"]
    arrays = read_arrays(path, [f"{x}/{y}" for x in layers for y in ("kernel", *(f"norm/{z}" for z in NORM_PARTS))])
    folded = {}
    for layer in layers:
        gamma, beta, mean, variance = (arrays[f"{layer}/norm/{part}"] for part in NORM_PARTS)
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        scale_shape = (-1, 1) if layer.endswith("depthwise") else (-1,)
        folded[f"{layer}/kernel"] = arrays[f"{layer}/kernel"] * scale.reshape(scale_shape)
        folded[f"{layer}/bias"] = beta - mean * scale
    return folded
