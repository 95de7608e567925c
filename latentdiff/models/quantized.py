"""Networks whose weights `keras.Model.quantize` has made smaller, in configs."""


def quantization_config(network):
    """What a config must hold so that a quantized network opens: dict of `quantization`, or empty for a plain one."""
    modes = {getattr(layer, "quantization_mode", None) for layer in network._flatten_layers(include_self=False)}
    modes.discard(None)
    if len(modes) > 1:
        raise ValueError(f"A network can be kept with one kind of quantization. Received: {sorted(modes)}")
    return {"quantization": modes.pop()} if modes else {}


def from_quantized_config(cls, config):
    """A network of class `cls` from its config, quantized as the config says."""
    config = dict(config)
    mode = config.pop("quantization", None)
    network = cls(**config)
    if mode is not None:
        network.quantize(mode)
    return network
