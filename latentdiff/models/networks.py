"""Networks: any Keras model from a dict of `noisy_latents`, `timesteps` and a conditioning to a prediction.

A functional model names its inputs: it gets those members of the conditioning that it names. A subclassed model gets
all of them. To add one by name: a file with its class, and a line here.
"""

import keras

from latentdiff.models.dit import DiT
from latentdiff.models.unet import UNet

NETWORKS = {"unet": UNet, "dit": DiT}
LATENT_INPUTS = ("noisy_latents", "timesteps")


def network_class(arguments):
    """The class that `arguments["network"]` names, a `UNet` where it is left out; ValueError for an unknown name."""
    name = arguments.get("network", "unet")
    if name not in NETWORKS:
        raise ValueError(f"`network` must be one of {sorted(NETWORKS)}. Received: network={name!r}")
    return NETWORKS[name]


def make_network(arguments, latent_shape, context_dim, num_tokens=None):
    """A network with fresh weights.

    Args:
        arguments: dict of `network`, a name of `NETWORKS`, and the arguments of its class but for the following ones.
        latent_shape: (height, width, channels) of the latents.
        context_dim: width of the text features.
        num_tokens: length of the text features, or None for any.
    """
    others = {name: value for name, value in arguments.items() if name != "network"}
    return network_class(arguments)(latent_shape, context_dim, num_tokens, **others)


def input_shapes(network):
    """Shapes with the batch in front of the inputs of a network, by name; None for a model that does not say.

    Raises:
        ValueError: a functional model whose inputs are no dict with `noisy_latents` and `timesteps`.
    """
    if not hasattr(network, "inputs"):
        return None
    inputs = network.input
    if not isinstance(inputs, dict) or not set(LATENT_INPUTS) <= set(inputs):
        raise ValueError(
            f"`unet` must take a dict with {LATENT_INPUTS}, each named as its `keras.Input`. Received: a model with "
            f"inputs {sorted(inputs) if isinstance(inputs, dict) else inputs}"
        )
    return {name: tuple(tensor.shape) for name, tensor in inputs.items()}


def taken_by(network, names):
    """Those of the `names` of a conditioning that the network takes, and whatever else it names."""
    shapes = input_shapes(network)
    if shapes is None:
        return tuple(names)
    others = [name for name in shapes if name not in (*LATENT_INPUTS, *names)]
    return (*(name for name in names if name in shapes), *others)


def latent_size(network):
    """(height, width) of the latents that a network was built for; None for each side that is free."""
    shapes = input_shapes(network)
    return (None, None) if shapes is None else shapes["noisy_latents"][1:3]


def check_network(network, latent_channels, conditioning_spec):
    """Raises ValueError for a network whose inputs or output, where it says what they are, do not fit.

    Args:
        network: a keras.Model.
        latent_channels: int.
        conditioning_spec: `keras.InputSpec`s of the members of the conditioning, by name.
    """
    shapes = input_shapes(network)
    if shapes is None:
        return
    latents = (None, None, None, latent_channels)
    expected = {"noisy_latents": latents, **{name: spec.shape for name, spec in conditioning_spec.items()}}
    for name, shape in expected.items():
        if name in shapes and not _agree(shapes[name], shape):
            raise ValueError(f"`unet` must take `{name}` of shape {shape}. Received: one that takes {shapes[name]}")
    if not _agree(tuple(network.output.shape), latents):
        raise ValueError(
            f"`unet` must give a prediction of shape {latents}. Received: one that gives {tuple(network.output.shape)}"
        )


def with_conditioning(network, conditioning_spec):
    """`network`, or one with the same weights that takes a conditioning of these shapes.

    Raises:
        ValueError: a network that was built for other shapes, and that has no argument `num_tokens` to change them.
    """
    shapes = input_shapes(network) or {}
    named = {name: spec.shape for name, spec in conditioning_spec.items() if name in shapes}
    wrong = [name for name, shape in named.items() if not _agree(shapes[name], shape)]
    if not wrong:
        return network
    config, name = network.get_config(), wrong[0]
    if "num_tokens" not in config:
        raise ValueError(
            f"`num_tokens` can't be other than what the network was built for, since it has no argument of this name. "
            f"Received: `{name}` of shape {named[name]}, a network that takes {shapes[name]}"
        )
    copy = type(network).from_config({**config, "num_tokens": named[name][1]})
    copy.set_weights(network.get_weights())
    return copy


def with_any_size(network):
    """`network`, or one with the same weights that takes latents of any height and width.

    Raises:
        ValueError: a network of one size that has no argument `latent_shape`.
    """
    if latent_size(network) == (None, None):
        return network
    config = network.get_config()
    if "latent_shape" not in config:
        raise ValueError(f"`network` must take any size, or have a `latent_shape`. Received: {network.name}")
    copy = type(network).from_config({**config, "latent_shape": (None, None, config["latent_shape"][-1])})
    copy.set_weights(network.get_weights())
    return copy


def side_multiple(network):
    """What the sides of latents must be multiples of for a `UNet` or a `DiT`; 1 for other networks."""
    return 2 ** (len(network.widths) - 1) if isinstance(network, UNet) else getattr(network, "patch_size", 1)


def check_sides(network, sizes):
    """Raises ValueError for sizes (height, width) of latents that the network can't take."""
    multiple = side_multiple(network)
    if wrong := [size for size in sizes if any(side % multiple for side in size)]:
        raise ValueError(f"Latents must have sides that are multiples of {multiple}. Received: {wrong}")


def build_shapes(network):
    """What a config must hold beside that of a network, so that its weights can be made before they are loaded.

    Returns:
        dict of `network_shapes`, the shapes of its inputs by name, for a subclassed model that was called; else empty.
    """
    shapes = None if hasattr(network, "inputs") else (network.get_build_config() or {}).get("input_shape")
    return {"network_shapes": {name: list(shape) for name, shape in shapes.items()}} if shapes else {}


def build_with(network, shapes, conditioning_spec):
    """Makes the weights of a subclassed model by a call with symbolic inputs of these shapes."""
    dtypes = {name: spec.dtype for name, spec in conditioning_spec.items()}
    network(
        {
            name: keras.Input(batch_shape=shape, dtype=dtypes.get(name, "float32"), name=name)
            for name, shape in shapes.items()
        }
    )


def _agree(shape, other):
    """Whether two shapes can be those of one tensor; None stands for any size."""
    sizes = zip(shape, other, strict=False)
    return len(shape) == len(other) and all(one is None or two is None or one == two for one, two in sizes)
