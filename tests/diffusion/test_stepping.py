"""Sampling cut at the calls of the network gives what the whole loop gives."""

import keras
import numpy as np
import pytest
from harness import arrays, assert_close, first_fast, normal
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion import noise
from latentdiff.diffusion.denoiser import KnownRegion
from latentdiff.diffusion.guidance import ClassifierFreeGuidance
from latentdiff.diffusion.samplers import SAMPLERS
from latentdiff.diffusion.samplers.sampler import Sampler
from latentdiff.diffusion.stepping import Answered, Stepper
from latentdiff.models.compilation import compile_function

SHAPE = (2, 2, 3)
CUT = [name for name, sampler in SAMPLERS.items() if sampler.denoiser_calls == 1]
KINDS = [("cosine", "velocity"), ("scaled_linear", "noise"), ("rectified_flow", "velocity"), ("cosine", "latents")]
SETTINGS = {
    "seeds": np.array([3, 4, 5, 2**31 - 1], "int32"),
    "num_steps": np.array([4, 1, 6, 5], "int32"),
    "first_step": np.array([0.0, 0.0, 2.5, 1.0], "float32"),
    "latents": normal(7, 4, *SHAPE),
    "repaint": (normal(8, 4, 2, 2, 1) > -0.3).astype("float32"),
    "guidance_scale": np.array([3.0, 1.0, 2.0, 5.0], "float32"),
    "guidance_rescale": np.array([0.7, 0.0, 0.0, 1.0], "float32"),
    "guidance_interval": np.array([[0.0, 1e30], [0.0, 1e30], [0.3, 4.0], [0.1, 1e30]], "float32"),
}


def network(noisy_latents, timesteps, rows):
    """A bounded answer that depends on latents, time and the prompt, here the row; in float32."""
    bend = ops.reshape(0.7 + 0.001 * timesteps + 0.1 * ops.cast(rows, "float32"), (-1, 1, 1, 1))
    return ops.tanh(bend * noisy_latents)


def whole_loop(sampler, schedule, prediction_type, settings):
    """Latents by `Sampler.sample`; negative prompts are rows 10 and on."""
    count = len(settings["seeds"])

    def plain(noisy_latents, timesteps):
        rows = np.concatenate([np.arange(count), 10 + np.arange(count)]).astype("float32")
        prediction = network(noisy_latents, ops.maximum(timesteps, 0.0), rows)
        return schedule.split(prediction, noisy_latents, timesteps, prediction_type)

    plain.noise_schedule = schedule
    limits = settings["guidance_rescale"], settings["guidance_interval"].T
    denoiser = ClassifierFreeGuidance(plain, settings["guidance_scale"], *limits)
    denoiser = KnownRegion(denoiser, schedule, settings["latents"], settings["repaint"] > 0.5)
    places = settings["num_steps"], settings["first_step"]
    draws = noise.normal(settings["seeds"], SHAPE)

    def sample(draws):
        first = sampler.start(schedule, settings["latents"], draws, *places)
        return sampler.sample(denoiser, schedule, first, places[0], settings["seeds"], places[1])

    return arrays(compile_function(sample, keras.Model())(draws))


def cut_loop(stepper, settings, spoil=False):
    """Latents by a host: `start`, and `advance` until all rows are done."""
    count, begin = len(settings["seeds"]), ("seeds", "num_steps", "first_step", "latents")
    start, advance = (compile_function(function, keras.Model()) for function in (stepper.start, stepper.advance))
    values = {**settings, **start(*(settings[name] for name in begin))}
    while (arrays(values["step"]) < settings["num_steps"]).any():
        latents, times = values["noisy_latents"], values["timesteps"]
        prediction = network(latents, times, np.arange(count, dtype="float32"))
        negative = network(latents, times, 10 + np.arange(count, dtype="float32"))
        if spoil:
            negative = ops.where(settings["guidance_scale"][:, None, None, None] == 1.0, np.nan, negative)
        values |= advance(prediction=prediction, negative_prediction=negative, **without_previews(values))
    return arrays(values["noisy_latents"])


def without_previews(values):
    return {name: value for name, value in values.items() if name not in ("timesteps", "pred_latents")}


@pytest.mark.parametrize("kind, prediction_type", first_fast(KINDS))
@pytest.mark.parametrize("name", first_fast(reversed(CUT), 4))
def test_the_cut_loop_is_the_loop(name, kind, prediction_type):
    sampler, schedule = SAMPLERS[name](temperature=0.8), NoiseSchedule(kind)
    expected = whole_loop(sampler, schedule, prediction_type, SETTINGS)
    received = cut_loop(Stepper(sampler, schedule, prediction_type, SHAPE), SETTINGS)
    assert expected.std() > 0.1
    assert_close(received, expected, 1e-4)


@pytest.mark.parametrize("name", first_fast(["unipc", "ddim"]))
def test_the_negative_prediction_is_not_read_without_guidance(name):
    sampler, schedule = SAMPLERS[name](), NoiseSchedule("cosine")
    stepper = Stepper(sampler, schedule, "velocity", SHAPE)
    np.testing.assert_array_equal(cut_loop(stepper, SETTINGS, spoil=True), cut_loop(stepper, SETTINGS))


@pytest.mark.parametrize("spacing", ["trailing", "karras"])
def test_start_is_the_initial_noise_at_its_temperature_or_noised_latents(spacing):
    schedule, sampler = NoiseSchedule("cosine"), SAMPLERS["ddim"](spacing=spacing, temperature=0.5)
    seeds, num_steps = np.array([1, 2, 3], "int32"), np.array([4, 4, 4], "int32")
    first_step, latents = np.array([0.0, 1.5, 4.0], "float32"), normal(0, 3, *SHAPE)
    values = arrays(Stepper(sampler, schedule, "velocity", SHAPE).start(seeds, num_steps, first_step, latents))
    draws = arrays(noise.normal(seeds, SHAPE))
    times = arrays(sampler.timesteps(first_step, num_steps, schedule))
    assert values["step"].tolist() == [0, 1, 4] and values["step"].dtype == "int32"
    np.testing.assert_array_equal(values["timesteps"], np.maximum(times, 0.0))
    assert times[2] == -1.0
    np.testing.assert_array_equal(values["noisy_latents"][0], np.float32(0.5) * draws[0])
    assert_close(values["noisy_latents"][1:], schedule.add_noise(latents, draws, times)[1:], 1e-6)
    np.testing.assert_array_equal(values["noisy_latents"][2], latents[2])


@pytest.mark.slow
def test_a_row_does_not_depend_on_its_neighbours():
    stepper = Stepper(SAMPLERS["dpmpp_2m_sde"](), NoiseSchedule("cosine"), "velocity", SHAPE)
    together = cut_loop(stepper, SETTINGS)
    alone = cut_loop(stepper, {name: values[:1] for name, values in SETTINGS.items()})
    assert_close(together[:1], alone, 1e-6)


def test_a_sampler_that_asks_twice_a_step_says_so():
    with pytest.raises(ValueError, match="`sampler` must ask the denoiser once a step.*sampler=Heun, which asks 2"):
        Stepper(SAMPLERS["heun"](), NoiseSchedule("cosine"), "velocity", SHAPE)


def test_a_sampler_that_asks_more_often_than_it_says_is_found_out():
    class Twice(Sampler):
        def step(self, denoiser, noisy_latents, state, here, there, draws):
            denoiser(noisy_latents, here.timesteps)
            return denoiser(noisy_latents, here.timesteps)[0], state

    stepper = Stepper(Twice(), NoiseSchedule("cosine"), "velocity", SHAPE)
    with pytest.raises(ValueError, match="`sampler.denoiser_calls`"):
        cut_loop(stepper, SETTINGS)


def test_a_meaningless_prediction_is_refused():
    with pytest.raises(ValueError, match="`prediction_type`"):
        Stepper(SAMPLERS["ddim"](), NoiseSchedule("rectified_flow"), "noise", SHAPE)


def test_answered_splits_what_it_was_given():
    schedule, (prediction, latents) = NoiseSchedule("cosine"), normal(0, 2, 1, *SHAPE)
    times = np.array([300.0], "float32")
    received = Answered(prediction, schedule, "velocity")(latents, times)
    assert_close(received, schedule.split(prediction, latents, times, "velocity"), 0.0)
