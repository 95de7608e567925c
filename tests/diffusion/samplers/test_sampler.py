import numpy as np
import pytest
from harness import arrays, assert_close, normal
from keras import ops

from latentdiff import SAMPLERS, NoiseSchedule
from latentdiff.diffusion import samplers
from latentdiff.diffusion.samplers.sampler import SPACINGS, Moment, Sampler

SCHEDULE = NoiseSchedule("scaled_linear")
SEEDS = np.array([3, 4, 5], "int32")
VARIANTS = ["ddim", "ddpm", {"name": "ddim", "eta": 0.5}, {"name": "ddim", "spacing": "leading"}]


def shrink(noisy_latents, timesteps):
    """A denoiser that is wrong in a way that depends on place and time."""
    signal_rates, noise_rates = (ops.reshape(rates, (-1, 1, 1, 1)) for rates in SCHEDULE.rates(timesteps))
    pred_latents = 0.5 * ops.tanh(noisy_latents) + 0.1 * signal_rates
    return pred_latents, (noisy_latents - signal_rates * pred_latents) / (noise_rates + 1e-9)


def sample(sampler, num_steps, rows=slice(None), denoiser=shrink, schedule=SCHEDULE):
    num_steps = np.broadcast_to(np.asarray(num_steps, "int32"), 3)[rows]
    latents = normal(0, 3, 2, 2, 3)[rows]
    return arrays(samplers.get(sampler).sample(denoiser, schedule, latents, num_steps, SEEDS[rows]))


# === Contract ===


def test_get():
    assert isinstance(samplers.get("ddpm"), SAMPLERS["ddpm"])
    assert samplers.get({"name": "ddim", "eta": 0.25}).eta == 0.25
    sampler = SAMPLERS["ddim"]()
    assert samplers.get(sampler) is sampler


@pytest.mark.parametrize("sampler", ["euler_typo", {"eta": 1.0}, None])
def test_unknown_name(sampler):
    with pytest.raises(ValueError, match=r"`sampler` must be one of \['ddim', 'ddpm'.*Received"):
        samplers.get(sampler)


@pytest.mark.parametrize("arguments", [{"spacing": "even"}, {"eta": 1.5}, {"eta": -0.1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`.*Received"):
        SAMPLERS["ddim"](**arguments)


def test_a_new_sampler_is_one_step():
    class Halfway(Sampler):
        def init_state(self, noisy_latents):
            return (ops.zeros_like(noisy_latents),)

        def step(self, denoiser, noisy_latents, state, here, there, draws):
            return noisy_latents / 2.0, (state[0] + 1.0,)

    assert_close(sample(Halfway(), [1, 2, 5]), normal(0, 3, 2, 2, 3) / np.array([2, 4, 32]).reshape(3, 1, 1, 1))


# === Laws ===


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 50, 999, 1000])
def test_timesteps_fall_to_the_clean_end(spacing, num_steps):
    index = np.arange(num_steps + 2, dtype="int32")
    timesteps = arrays(SAMPLERS["ddim"](spacing=spacing).timesteps(index, np.full_like(index, num_steps), SCHEDULE))
    assert (timesteps[num_steps:] == -1).all()
    inner = timesteps[:num_steps]
    assert (np.diff(inner) <= -1).all() and (inner == inner.astype(int)).all()
    assert inner.min() >= 0 and inner.max() <= 999
    if spacing == "trailing" or (spacing == "linspace" and num_steps > 1):
        assert inner[0] == 999
    if spacing != "trailing" or num_steps == 1000:
        assert inner[-1] == (spacing == "leading_offset" and num_steps < 1000)


@pytest.mark.parametrize("sampler", VARIANTS)
def test_row_does_not_depend_on_its_neighbours(sampler):
    """Each row takes its own number of steps, alone or beside rows that take more or fewer."""
    together = sample(sampler, [1, 7, 4])
    for row, num_steps in enumerate([1, 7, 4]):
        alone = sample(sampler, num_steps, slice(row, row + 1))
        assert_close(together[row : row + 1], alone, 1e-6)
    assert np.abs(together - sample(sampler, [7, 7, 7])).max(axis=(1, 2, 3))[[0, 2]].min() > 1e-3


@pytest.mark.parametrize("sampler", VARIANTS)
def test_stepwise_equals_the_loop(sampler):
    sampler_object, num_steps = samplers.get(sampler), np.array([1, 5, 3], "int32")
    latents = normal(0, 3, 2, 2, 3)
    state = sampler_object.init_state(latents)
    for step in range(5):
        latents, state = sampler_object.advance(shrink, SCHEDULE, latents, state, step, num_steps, SEEDS)
    assert_close(latents, sample(sampler, num_steps), 1e-5)


@pytest.mark.parametrize("sampler", VARIANTS)
@pytest.mark.parametrize("kind", ["cosine", "rectified_flow"])
def test_oracle(sampler, kind):
    """With a denoiser that knows the latents, any number of steps ends there."""
    schedule, latents = NoiseSchedule(kind), normal(7, 3, 2, 2, 3)

    def oracle(noisy_latents, timesteps):
        return schedule.split(latents[: len(noisy_latents)], noisy_latents, timesteps, "latents")

    assert_close(sample(sampler, [1, 3, 10], denoiser=oracle, schedule=schedule), latents, 1e-6)


def test_moment():
    moment = Moment(SCHEDULE, np.array([-1.0, 10.0, 999.0], "float32"))
    assert moment.signal_rates.shape == moment.noise_rates.shape == (3, 1, 1, 1)
    assert_close(moment.noise_rates[:, 0, 0, 0], SCHEDULE.rates(moment.timesteps)[1], 0.0)


def test_samplers_are_equal_by_class_and_arguments():
    first = samplers.get({"name": "ddim", "eta": 0.5})
    assert first == samplers.DDIM(eta=0.5) and hash(first) == hash(samplers.DDIM(eta=0.5))
    assert first != samplers.DDIM(eta=0.4) and first != samplers.DDPM() and samplers.Euler() != samplers.DDIM()
