"""The inputs of our networks: latents, time, and the members of the conditioning that a network takes."""

import keras


def network_inputs(latent_shape, context_dim, num_tokens, sees_mask=False, pooled_dim=None):
    """Symbolic inputs by name.

    Args:
        latent_shape: (height, width, channels) of the latents.
        context_dim: width of the text features.
        num_tokens: length of the text features, or None for any.
        sees_mask: whether there are `masked_latents`, see `image_members`.
        pooled_dim: width of the vector of the whole text, which goes with `image_sizes`; None where there are none.
    """
    *sides, channels = latent_shape
    shapes = {"noisy_latents": latent_shape, "timesteps": (), "context": (num_tokens, context_dim)}
    shapes |= {"masked_latents": (*sides, 1 + channels)} if sees_mask else {}
    shapes |= {"pooled_context": (pooled_dim,), "image_sizes": (6,)} if pooled_dim else {}
    inputs = {name: keras.Input(shape, name=name, dtype="float32") for name, shape in shapes.items()}
    return {**inputs, "context_mask": keras.Input((num_tokens,), dtype="bool", name="context_mask")}
