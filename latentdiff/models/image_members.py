"""Members of the conditioning that come from the image and not from the text.

A network that has an input of such a name is conditioned on it:

image_sizes       float32 (batch, 6), in pixels: height and width of the image before it was cropped, top and left edge
                  of the crop, height and width of the result; without other knowledge those of the whole image
masked_latents    what inpainting keeps, float32 (batch, h, w, 1 + channels): the mask, 1 where to paint, in front of
                  the latents of the image with the masked part grey
"""

import math

import keras
from keras import ops

from latentdiff.models.pixels import to_float
from latentdiff.settings import table

SIZES, MASKED = table.IMAGE_SIZES, "masked_latents"
# Of the masks in training: how many cover the whole image, and of how many boxes the others consist.
WHOLE_SHARE, NUM_BOXES = 0.25, 4
NUM_DRAWS = 1 + 4 * NUM_BOXES


def specs(latent_channels):
    """`keras.InputSpec`s of these members by name, for latents of so many channels."""
    return {
        SIZES: keras.InputSpec("float32", (None, 6)),
        MASKED: keras.InputSpec("float32", (None, None, None, 1 + latent_channels)),
    }


def of_no_image(names, autoencoder, size, rows):
    """Those of these members that are among `names`, where no image is given: all is to be painted.

    Args:
        names: members that a network takes.
        autoencoder: the `Autoencoder`.
        size: (height, width) of the images.
        rows: int or int tensor, of the batch.

    Returns:
        dict of tensors with so many rows.
    """
    members = {SIZES: image_sizes(size)} if SIZES in names else {}
    if MASKED in names:
        grey, everything = ops.zeros((1, *size, 3)), ops.ones((1, *size), "bool")
        members[MASKED] = masked_latents(autoencoder.encode, grey, everything)
    return {name: ops.repeat(member, rows, axis=0) for name, member in members.items()}


def of_settings(names, values_of):
    """Those of these members that are among `names`, of settings of a request.

    Args:
        names: members that a network takes.
        values_of: function from a row of `table.SIZES` to its values, int (batch, 2).
    """
    if SIZES not in names:
        return {}
    return {SIZES: ops.concatenate([ops.cast(values_of(row), "float32") for row in table.SIZES], axis=1)}


def of_masks(names, encode, images, masks):
    """Those of these members that are among `names`, of images and masks; empty for networks that see no masks."""
    return {MASKED: masked_latents(encode, images, masks)} if MASKED in names else {}


def of_training(names, autoencoder, latents, images, draw):
    """Those of these members that are among `names`, of images for training, with random masks.

    Args:
        names: members that a network takes and that the data do not hold.
        autoencoder: the `Autoencoder`.
        latents: (batch, h, w, channels), of the images.
        images: (batch, height, width, 3), or None where the data hold none.
        draw: function of a shape that gives standard Gaussian numbers (batch, *shape).

    Returns:
        dict of tensors.

    Raises:
        ValueError: a network that sees masks, and no images.
    """
    rows, *sides = ops.shape(latents)[:3]
    size = [autoencoder.downsampling * side for side in sides]
    members = {SIZES: ops.repeat(image_sizes(size), rows, axis=0)} if SIZES in names else {}
    if MASKED not in names:
        return members
    if images is None:
        raise ValueError(f"`data` must hold 'images', or {MASKED!r} beside its 'latents'. Received: neither")
    masks = random_masks(draw((NUM_DRAWS,)), size)
    return {**members, MASKED: ops.stop_gradient(masked_latents(autoencoder.encode, images, masks))}


def image_sizes(size):
    """The member of this name for an image that was not cropped, of `size` (height, width): float32 (1, 6).

    Reference: Podell et al., SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis, 2023,
    arXiv:2307.01952, section 2.2.
    """
    return ops.stack([ops.cast(side, "float32") for side in (*size, 0, 0, *size)])[None]


def masked_latents(encode, images, masks):
    """The member of this name.

    Args:
        encode: function from images to latents, `Autoencoder.encode`.
        images: uint8 [0, 255] or float [-1, 1], (batch, height, width, 3).
        masks: bool (batch, height, width), True where to paint.

    Returns:
        float32 (batch, h, w, 1 + channels). The mask of a latent is that of its first pixel, as in training.

    Reference: Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022, arXiv:2112.10752,
    section 4.5.
    """
    latents = encode(ops.where(masks[..., None], 0.0, to_float(images)))  # (b, h, w, c)
    height, width = (side // place for side, place in zip(ops.shape(masks)[1:], ops.shape(latents)[1:3], strict=True))
    return ops.concatenate([ops.cast(masks[:, ::height, ::width, None], "float32"), latents], axis=-1)


def random_masks(draws, size):
    """Masks for training: everything in a quarter of the images, as Stable Diffusion was trained, else random boxes.

    Args:
        draws: float32 (batch, NUM_DRAWS), standard Gaussian numbers.
        size: (height, width).

    Returns:
        bool (batch, height, width), True where to paint.
    """
    uniform = 0.5 + 0.5 * ops.erf(draws / math.sqrt(2.0))
    corners = ops.reshape(uniform[:, 1:], (-1, NUM_BOXES, 2, 2))  # box, axis, end
    low, high = ops.min(corners, axis=-1), ops.max(corners, axis=-1)  # (b, boxes, 2)
    down, across = (_between(low[..., axis], high[..., axis], size[axis]) for axis in (0, 1))
    boxes = ops.any(ops.logical_and(down[..., None], across[:, :, None]), axis=1)  # (b, height, width)
    return ops.logical_or(boxes, uniform[:, 0, None, None] < WHOLE_SHARE)


def _between(low, high, count):
    """Which of `count` places between 0 and 1 lie between two edges: (b, boxes) -> bool (b, boxes, count)."""
    places = (ops.cast(ops.arange(count), "float32") + 0.5) / ops.cast(count, "float32")
    return ops.logical_and(low[..., None] <= places, places < high[..., None])
