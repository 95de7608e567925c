"""Between pixels and latents, whole or in tiles."""

from keras import ops

from latentdiff.models import pixels
from latentdiff.models.compilation import compile_function
from latentdiff.models.tiles import in_tiles


def check_tile_size(tile_size, downsampling):
    """Raises ValueError unless `tile_size`, in pixels, is None or a whole number of latent positions, two at least."""
    if tile_size is None:
        return
    if type(tile_size) is not int or tile_size < 2 * downsampling or tile_size % downsampling:
        raise ValueError(
            f"`tile_size` must be a multiple of {downsampling} of at least {2 * downsampling}, or None. "
            f"Received: tile_size={tile_size!r}"
        )


def coders(autoencoder, tile_size, wrap=lambda function: function, each=None):
    """The functions from pixels to latents and back.

    Args:
        autoencoder: an `Autoencoder`.
        tile_size: side of a tile in pixels, or None for the whole image at once.
        wrap: what is done to `encode` and `decode` of the autoencoder, such as compiling them; a tile is one call.
        each: see `in_tiles`.

    Returns:
        encode: uint8 or float images (batch, height, width, 3) -> float32 latents.
        decode: float32 latents -> uint8 images.
    """
    downsampling = autoencoder.downsampling
    if tile_size is None:
        return wrap(autoencoder.encode), wrap(lambda latents: pixels.to_uint8(autoencoder.decode(latents)))
    tile = tile_size // downsampling
    encode = in_tiles(wrap(autoencoder.encode), tile, before=downsampling, each=each)
    decode = in_tiles(wrap(autoencoder.decode), tile, after=downsampling, each=each)
    return encode, lambda latents: pixels.to_uint8(decode(latents))


def posterior(autoencoder, images):
    """What the encoder makes of images: the latents that `autoencoder.encode` gives, and how far they may vary.

    Args:
        autoencoder: an `Autoencoder`.
        images: uint8 or float (batch, height, width, 3).

    Returns:
        mean and standard deviation of the posterior, in normalized latents, float32 (batch, h, w, channels) each.
    """
    mean, log_variance = autoencoder.moments(images)
    std = ops.exp(0.5 * log_variance)
    return (mean - autoencoder.latent_mean) / autoencoder.latent_std, std / autoencoder.latent_std


def compiled_coders(model, tile_size):
    """`coders` of a `LatentDiffusion`, compiled; of tiles only what is done to one tile."""
    return coders(model.autoencoder, tile_size, lambda function: compile_function(function, model))
