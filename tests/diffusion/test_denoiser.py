import numpy as np
import pytest
from harness import arrays, assert_close, normal

from latentdiff import NoiseSchedule
from latentdiff.diffusion.denoiser import Denoiser
from latentdiff.diffusion.noise_schedule import PREDICTION_TYPES

SCHEDULE = NoiseSchedule("cosine")
LATENTS, NOISE = normal(0, 2, 2, 2, 3), normal(1, 2, 2, 2, 3)
CONDITIONING = {"context": normal(2, 2, 5, 4), "pooled": normal(3, 2, 4)}


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_a_perfect_network_makes_a_perfect_denoiser(prediction_type):
    timesteps, seen = np.array([10.0, 700.5], "float32"), {}
    noisy_latents = arrays(SCHEDULE.add_noise(LATENTS, NOISE, timesteps))

    def network(inputs):
        seen.update(inputs)
        return SCHEDULE.target(LATENTS, NOISE, timesteps, prediction_type)

    parts = Denoiser(network, SCHEDULE, prediction_type, CONDITIONING)(noisy_latents, timesteps)
    assert_close(parts, (LATENTS, NOISE), 1e-4)
    assert_close(
        seen,
        {**CONDITIONING, "noisy_latents": noisy_latents, "timesteps": timesteps},
        0.0,
    )


def test_the_network_is_never_asked_about_the_clean_end():
    asked = []

    def network(inputs):
        asked.append(arrays(inputs["timesteps"]))
        return NOISE

    Denoiser(network, SCHEDULE, "noise", CONDITIONING)(LATENTS, np.array([-1.0, 5.0], "float32"))
    np.testing.assert_array_equal(asked, [[0.0, 5.0]])
