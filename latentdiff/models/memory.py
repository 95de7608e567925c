"""Options of networks that change nothing but the memory that they take, and their speed."""


def save_memory(model, gradient_checkpointing=False, query_chunk_size=None):
    """Sets how much memory a network of this package takes. Its outputs and gradients stay the same.

    Args:
        model: a keras.Model with layers of this package, such as `UNet`, `DiT` or `Autoencoder`. Functions that were
            compiled before do not follow.
        gradient_checkpointing: bool, whether each block keeps its inputs alone while training and computes the rest
            again for the gradient: slower by one forward pass. XLA for CPUs (the JAX backend without an accelerator)
            joins the two computations again, and so saves nothing.
        query_chunk_size: int, how many queries of attention have their scores in memory at a time; None for all.

    Raises:
        ValueError: a size below 1; a network with no layer that could be set.
    """
    if query_chunk_size is not None and (not isinstance(query_chunk_size, int) or query_chunk_size < 1):
        raise ValueError(
            f"`query_chunk_size` must be None or a whole number of at least 1. Received: {query_chunk_size=}"
        )
    values = {"gradient_checkpointing": bool(gradient_checkpointing), "query_chunk_size": query_chunk_size}
    for name, value in values.items():
        layers = [layer for layer in model._flatten_layers(include_self=False) if hasattr(type(layer), name)]
        if value and not layers:
            raise ValueError(f"`{name}` needs layers of this package. Received: {model.name}, which has none for it")
        for layer in layers:
            setattr(layer, name, value)
