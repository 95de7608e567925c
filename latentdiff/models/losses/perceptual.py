"""Perceptual distances between images, by the features of a trained network.

`LPIPS` and `PerceptualLoss` are plain callables, not layers. A model may therefore keep one as an ordinary attribute
and call it in its `compute_loss`: Keras neither counts, nor trains, nor saves the frozen network with that model.
"""

import keras
import numpy as np
from keras import ops

from latentdiff.models.npz_weights import fill_model, read_arrays

# (stride, padding, pooled before) of the five convolutions of AlexNet.
ALEXNET_CONVOLUTIONS = [(4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False)]
# Channel means and deviations of ImageNet, for pixels in [-1, 1], as LPIPS rounds them.
IMAGENET_MEAN = np.array([-0.030, -0.088, -0.188])
IMAGENET_STD = np.array([0.458, 0.448, 0.450])
MIN_SIZE = 32


def alexnet_features(path, dtype="float32"):
    """The convolutions of AlexNet as a frozen feature model.

    Args:
        path: `.npz` file with the arrays `conv0/kernel`, `conv0/bias` ... `conv4/bias`. The widths are read from it.
        dtype: dtype or dtype policy of the computation, whatever the global policy is.

    Returns:
        `keras.Model`: images, float [-1, 1], (batch, height, width, 3), of 32 pixels or more -> list of the five
        rectified maps, (batch, height_i, width_i, width_i of the file).

    Raises:
        ValueError: the file is missing or holds other arrays.

    Reference:
        Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014.
    """
    arrays = read_arrays(path, [f"conv{i}/{part}" for i in range(5) for part in ("kernel", "bias")])
    common = {"dtype": dtype, "data_format": "channels_last"}
    images = keras.layers.Input((None, None, 3), dtype="float32", name="images")
    x = keras.layers.Rescaling(list(1 / IMAGENET_STD), list(-IMAGENET_MEAN / IMAGENET_STD), dtype=dtype)(images)
    maps = []
    for index, (stride, padding, pooled) in enumerate(ALEXNET_CONVOLUTIONS):
        if pooled:
            x = keras.layers.MaxPooling2D(3, strides=2, **common)(x)
        x = keras.layers.ZeroPadding2D(padding, **common)(x)
        kernel = arrays[f"conv{index}/kernel"]
        x = keras.layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], stride, activation="relu", name=f"conv{index}", **common
        )(x)
        maps.append(x)
    model = keras.Model(images, maps, name="alexnet_features", trainable=False)
    fill_model(model, arrays, path)
    return model


@keras.saving.register_keras_serializable(package="latentdiff")
class LPIPS:
    """Learned perceptual distance of images: 0 for the same image, near 1 for unrelated ones.

    AlexNet encodes both images. On each of its five maps the squared difference of the unit-length features is weighted
    per channel and averaged over positions; the five averages are summed.

    As a loss, give the images that need no gradient first: `lpips(images, reconstructions)`. It can be handed to
    `compile(loss=...)` too, since its arguments stand in the order (y_true, y_pred).

    Args:
        path: `.npz` file with the arrays of `alexnet_features` and one vector `head0` ... `head4` for each map.
        dtype: dtype or dtype policy of AlexNet, float32 unless told otherwise, also where the global policy is mixed.
            The distance itself is always float32.

    Call arguments:
        images_a, images_b: float [-1, 1], (batch, height, width, 3), of the same size, 32 pixels or more.

    Returns:
        float32 tensor (batch,).

    Raises:
        ValueError: the file is missing or holds other arrays; the images are smaller or of two sizes.

    Reference:
        Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018, section 3.
    """

    def __init__(self, path, dtype="float32"):
        self.path = str(path)
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self.features = alexnet_features(path, self.dtype_policy)
        names = [f"head{i}" for i in range(len(ALEXNET_CONVOLUTIONS))]
        arrays = read_arrays(path, names)
        self.heads = [arrays[name].reshape(-1) for name in names]

    def __call__(self, images_a, images_b):
        _check_sizes(images_a, images_b, MIN_SIZE)
        total = 0.0
        for map_a, map_b, head in zip(self.features(images_a), self.features(images_b), self.heads, strict=True):
            difference = ops.square(_unit_length(map_a) - _unit_length(map_b))  # (batch, height_i, width_i, width_i)
            total = total + ops.mean(ops.sum(difference * head, axis=-1), axis=(1, 2))
        return total

    def get_config(self):
        return {"path": self.path, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class PerceptualLoss:
    """Distance of images in the features of any frozen Keras model.

    On each map the squared distance of the features, scaled to unit length over the channels, is averaged over
    positions; the levels are then averaged, by `weights` where given. Between 0 and 4 (2 for unrelated directions).

    It has no config: the feature model's weights would be lost in one. Make it anew after loading a model.

    Args:
        feature_model: `keras.Model` from images to one map or a list, tuple or dict of maps, (batch, ..., channels).
            Called with `training=False`.
        weights: one number >= 0 for each map; equal when None.

    Call arguments:
        images_a, images_b: float [-1, 1], (batch, height, width, 3), of the same size.

    Returns:
        float32 tensor (batch,).

    Raises:
        ValueError: `weights` do not fit the maps, are negative or all zero; the images are of two sizes.

    Reference:
        Johnson et al., Perceptual Losses for Real-Time Style Transfer and Super-Resolution, 2016.
    """

    def __init__(self, feature_model, weights=None):
        num_maps = len(keras.tree.flatten(feature_model.outputs))
        weights = np.full(num_maps, 1.0) if weights is None else np.asarray(weights, "float64")
        if weights.shape != (num_maps,) or weights.min() < 0 or weights.sum() == 0:
            raise ValueError(
                f"`weights` must be {num_maps} numbers >= 0, one for each map of `feature_model`, and not all zero. "
                f"Received: weights={weights.tolist()}"
            )
        self.feature_model = feature_model
        self.weights = [float(weight) for weight in weights / weights.sum()]

    def __call__(self, images_a, images_b):
        _check_sizes(images_a, images_b, 1)
        maps_a, maps_b = (keras.tree.flatten(self.feature_model(x, training=False)) for x in (images_a, images_b))
        total = 0.0
        for map_a, map_b, weight in zip(maps_a, maps_b, self.weights, strict=True):
            distance = ops.sum(ops.square(_unit_length(map_a) - _unit_length(map_b)), axis=-1)  # (batch, ...)
            total = total + weight * ops.mean(ops.reshape(distance, (ops.shape(distance)[0], -1)), axis=-1)
        return total


def _unit_length(features):
    """Scales features to length 1 over the last axis, in float32; zero stays zero, with a zero gradient."""
    features = ops.cast(features, "float32")
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    return features / ops.sqrt(ops.maximum(squares, 1e-20))


def _check_sizes(images_a, images_b, min_size):
    shape_a, shape_b = tuple(images_a.shape), tuple(images_b.shape)
    fits = len(shape_a) == len(shape_b) == 4 and all(
        a == b or a is None or b is None for a, b in zip(shape_a, shape_b, strict=True)
    )
    if not fits or any(size is not None and size < min_size for size in shape_a[1:3] + shape_b[1:3]):
        raise ValueError(
            "`images_a` and `images_b` must have the same shape (batch, height, width, 3), with "
            f"{min_size} pixels or more a side. Received: images_a.shape={shape_a}, images_b.shape={shape_b}"
        )
