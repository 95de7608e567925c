import keras
import numpy as np
import pytest
from harness import arrays, check_compiled

from latentdiff import NoiseSchedule
from latentdiff.diffusion.samplers import SAMPLERS

SCHEDULES = [
    NoiseSchedule("scaled_linear"),
    NoiseSchedule("cosine"),
    NoiseSchedule("rectified_flow"),
    NoiseSchedule("linear", zero_terminal_snr=True),
    NoiseSchedule("cosine", num_train_timesteps=2),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_timesteps_of_is_the_inverse_of_rates(schedule):
    timesteps = np.linspace(-1, schedule.num_train_timesteps - 1.5, 77).astype("float32")
    signal_rates, noise_rates = arrays(schedule.rates(timesteps))
    found = arrays(schedule.timesteps_of(noise_rates / signal_rates))
    np.testing.assert_allclose(found, timesteps, atol=2e-3)


@pytest.mark.parametrize("schedule", SCHEDULES[:4])
@pytest.mark.parametrize("num_steps", [1, 2, 10, 100])
def test_karras(schedule, num_steps):
    index = np.arange(num_steps + 2, dtype="int32")
    timesteps = arrays(SAMPLERS["ddim"](spacing="karras").timesteps(index, np.full_like(index, num_steps), schedule))
    assert timesteps[0] == 999.0 and (timesteps[num_steps:] == -1.0).all()
    assert (np.diff(timesteps[: num_steps + 1]) < 0).all()
    if num_steps > 2:
        np.testing.assert_allclose(timesteps[num_steps - 1], 0.0, atol=1e-3)
        signal_rates, noise_rates = arrays(schedule.rates(timesteps[1:num_steps]))  # the first may have no sigma
        np.testing.assert_allclose(np.diff((noise_rates / signal_rates) ** (1 / 7), 2), 0.0, atol=1e-4)


def test_compiled():
    def timesteps(index):
        return SAMPLERS["ddim"](spacing="karras").timesteps(index, np.full(3, 10, "int32"), SCHEDULES[0])

    check_compiled(timesteps, keras.Model(), np.array([0, 4, 9], "int32"), tolerance=1e-4)
