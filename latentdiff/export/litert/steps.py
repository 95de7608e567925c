"""What runs between two calls of the network: a file `start` and a file `advance` for each sampler."""

import keras
from keras import ops

from latentdiff.diffusion import samplers
from latentdiff.diffusion.stepping import Stepper
from latentdiff.export.litert.parts import Part

PRESET = "preset"  # the sampler of the preset, where it is not one of the samplers as they are by default


def exported_samplers(sampler, names=None):
    """The samplers that an exported folder has.

    Args:
        sampler: name, dict or `Sampler`, that of the pipeline. It is always among them.
        names: of the others; default: all that can be cut at the calls of the network.

    Returns:
        dict of names to `Sampler`s, that of the pipeline in front; its name is `PRESET` if it has settings of its own.

    Raises:
        ValueError: a sampler that asks the network more than once a step, or an unknown one.
    """
    cut = [name for name, kind in samplers.SAMPLERS.items() if kind.denoiser_calls == 1]
    if names is not None and not set(names) <= set(cut):
        raise ValueError(f"`samplers` must be some of {cut}. Received: samplers={list(names)}")
    default = samplers.get(sampler)
    if default.denoiser_calls != 1:
        raise ValueError(
            f"`text_to_image.sampler` must ask the network once a step, as {cut} do: the edge has no other. "
            f"Received: sampler={sampler!r}"
        )
    made = {name: samplers.get(name) for name in cut}
    label = next((name for name, other in made.items() if other == default), PRESET)
    return {label: default} | {name: made[name] for name in (cut if names is None else names)}


def step_parts(text_to_image, exported):
    """The parts `start_NAME` and `advance_NAME` of each sampler, for one image each.

    Args:
        text_to_image: the `TextToImage`.
        exported: what `exported_samplers` returns.

    Returns:
        dict of names to `Part`s.
    """
    model, parts = text_to_image.model, {}
    for name, sampler in exported.items():
        stepper = Stepper(sampler, model.noise_schedule, model.prediction_type, text_to_image.latent_shape)
        parts |= {f"start_{name}": _start(stepper), f"advance_{name}": _advance(stepper)}
    return parts


def _start(stepper):
    def start(seed, **inputs):
        values = stepper.start(seeds=seed, **inputs)
        # States that begin as the same constant would be one tensor, of which LiteRT.js gives but one name: add zeros
        # that the converter takes for different ones.
        zeros = ops.minimum(ops.abs(values["noisy_latents"]), 0.0)
        for index, name in enumerate(stepper.state_names):
            height, width, channels = values[name].shape[1:]
            values[name] = values[name] + (index + 1.0) * zeros[:, :height, :width, :channels]
        return values

    return Part(start, [], _begin(stepper.latent_shape), on_gpu=False)


def _advance(stepper):
    def advance(prediction, seed, **inputs):
        return stepper.advance(*ops.split(prediction, 2), seeds=seed, **inputs)

    shape = stepper.latent_shape
    state = stepper.sampler.init_state(ops.zeros((1, *shape)))
    inputs = {
        "prediction": _spec(2, *shape),  # of the prompt and of the negative prompt
        "noisy_latents": _spec(1, *shape),
        "step": _spec(1, dtype="int32"),
        **_begin(shape),
        "repaint": _spec(1, *shape[:2], 1),
        "guidance_scale": _spec(1),
        "guidance_rescale": _spec(1),
        "guidance_interval": _spec(1, 2),
        **{name: _spec(*tensor.shape) for name, tensor in zip(stepper.state_names, state, strict=True)},
    }
    return Part(advance, [], inputs, on_gpu=False)


def _spec(*shape, dtype="float32"):
    return keras.InputSpec(shape=shape, dtype=dtype)


def _begin(latent_shape):
    return {
        "seed": _spec(1, dtype="int32"),
        "num_steps": _spec(1, dtype="int32"),
        "first_step": _spec(1),
        "latents": _spec(1, *latent_shape),
    }
