"""The arrays of a request: those that come with it, one for all prompts or one for each, and its settings."""

import numpy as np
from keras import ops

from latentdiff.data.images import both_sides
from latentdiff.models.networks import latent_size
from latentdiff.models.pixels import to_uint8


def each_array(value, count, name, shape):
    """An array of the given shape, or one for each of `count` prompts -> array (count, *shape)."""
    array = np.asarray(value)
    if array.shape not in (shape, (count, *shape)):
        raise ValueError(
            f"`{name}` must have shape {shape}, or {(count, *shape)} for one of each prompt. "
            f"Received: {name}.shape={array.shape}"
        )
    return np.broadcast_to(array, (count, *shape))


def each_image(images, count, size):
    """Images of `size` (height, width), as `Autoencoder.encode` takes them: array (count, height, width, 3)."""
    images = each_array(images, count, "images", (*size, 3))
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f" or not (np.abs(images) <= 1.0).all():
        raise ValueError(
            "`images` must be uint8 in [0, 255] or float in [-1, 1]. "
            f"Received: {images.dtype} in [{images.min()}, {images.max()}]"
        )
    return images.astype("float32")


def each_mask(masks, count, size):
    """Masks of `size` (height, width), True where to paint: bool (count, height, width)."""
    masks = each_array(masks, count, "masks", tuple(size))
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise ValueError(
            "`masks` must be bool, or 0 and 1: True where to paint. "
            f"Received: {masks.dtype} in [{masks.min()}, {masks.max()}]"
        )
    return masks.astype(bool)


def each_noise(noise, count, shape):
    """Initial noise of `shape`: float32 (count, *shape)."""
    noise = each_array(noise, count, "noise", shape)
    if noise.dtype.kind not in "fiu" or not np.isfinite(noise).all():
        raise ValueError(f"`noise` must hold finite numbers. Received: {noise.dtype} with other values")
    return noise.astype("float32")


def checked_arrays(given, count, image_size, latent_shape):
    """The inputs of `count` prompts, a dict of `images`, `masks` and `noise`, each checked by its function above."""
    checks = {"images": (each_image, image_size), "masks": (each_mask, image_size), "noise": (each_noise, latent_shape)}
    return {name: checks[name][0](value, count, checks[name][1]) for name, value in given.items()}


def masks_on_latents(masks, latent_shape):
    """bool (n, height, width) -> bool (n, h, w, 1): True for latents that cover any pixel of the mask."""
    height, width, _ = latent_shape
    tiles = masks.reshape(len(masks), height, masks.shape[1] // height, width, masks.shape[2] // width)
    return tiles.any(axis=(2, 4))[..., None]


def with_kept_pixels(made, images, masks, keep):
    """uint8 images (n, height, width, 3) with the given pixels outside the masks, in the rows of `keep`, bool (n,)."""
    given = images if images.dtype == np.uint8 else ops.convert_to_numpy(to_uint8(images))
    return np.where(masks[..., None] | ~keep[:, None, None, None], made, given)


def check_image_size(model, image_size):
    """(height, width) of the images of a model; by default those that its network was built for."""
    downsampling = model.autoencoder.downsampling
    if image_size is None:
        height, width = latent_size(model.network)
        if height is None or width is None:
            raise ValueError("`image_size` must be given for a network of any size. Received: image_size=None")
        return height * downsampling, width * downsampling
    sides = both_sides(image_size)
    if any(side % downsampling for side in sides):
        raise ValueError(f"`image_size` must be divisible by {downsampling}. Received: {image_size=}")
    return sides


def rows_of(request, row):
    """The values of a setting as an array with one row for each image, also where one counts for all."""
    return np.broadcast_to(np.array(request[row.name], row.dtype), (len(request), *row.shape))


def first_steps(request):
    """The places where the images of a request begin, in steps: float32 (n,)."""
    return (np.array(request["num_steps"]) * (1.0 - np.array(request["strength"]))).astype("float32")
