import numpy as np
import pytest
from harness import arrays, normal
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion.guidance import ClassifierFreeGuidance

LATENTS, TIMESTEPS = normal(0, 3, 2, 2, 3), np.array([3.0, 500.0, 999.0], "float32")
ANSWERS = normal(1, 6, 2, 2, 3)


class Denoiser:
    noise_schedule = NoiseSchedule("scaled_linear", zero_terminal_snr=True)

    def __call__(self, noisy_latents, timesteps):
        answers = ANSWERS[: len(noisy_latents)] + 0.0 * noisy_latents
        return self.noise_schedule.split(answers, noisy_latents, timesteps, "latents")


def guided(scale=5.0, **options):
    return arrays(ClassifierFreeGuidance(Denoiser(), np.full(3, scale, "float32"), **options)(LATENTS, TIMESTEPS))


def plain():
    return arrays(Denoiser()(LATENTS, TIMESTEPS))


# === Rescale ===


def test_full_rescale_keeps_the_contrast_of_the_plain_latents():
    contrast, burnt = plain()[0].std(axis=(1, 2, 3)), guided()[0].std(axis=(1, 2, 3))
    np.testing.assert_allclose(guided(rescale=1.0)[0].std(axis=(1, 2, 3)), contrast, rtol=1e-5)
    np.testing.assert_allclose(guided(rescale=0.7)[0].std(axis=(1, 2, 3)), 0.7 * contrast + 0.3 * burnt, rtol=1e-5)
    assert (burnt > 1.5 * contrast).all()


def test_rescaled_parts_still_make_up_the_noisy_latents():
    pred_latents, pred_noise = guided(rescale=0.7)
    noisy_latents = Denoiser.noise_schedule.add_noise(pred_latents, pred_noise, TIMESTEPS)
    np.testing.assert_allclose(arrays(noisy_latents), LATENTS, atol=1e-4)


def test_rescale_does_nothing_without_guidance():
    for received, expected in zip(guided(1.0, rescale=0.7), plain(), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-6)


# === Interval ===


def test_rows_outside_the_interval_equal_plain():
    """Sigma is 0.05 in the first row, 1.4 in the second, infinite in the third."""
    for received, all_guided, expected in zip(guided(interval=(0.2, 5.0)), guided(), plain(), strict=True):
        np.testing.assert_array_equal(received[[0, 2]], expected[[0, 2]])
        np.testing.assert_array_equal(received[1], all_guided[1])
        assert np.abs(received[1] - expected[1]).max() > 0.1
    for received, all_guided in zip(guided(interval=(0.0, float("inf"))), guided(), strict=True):
        np.testing.assert_array_equal(received, all_guided)


def test_both_options_at_once_leave_rows_outside_plain():
    for received, expected in zip(guided(interval=(0.2, 5.0), rescale=0.7), plain(), strict=True):
        np.testing.assert_allclose(received[[0, 2]], expected[[0, 2]], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"rescale": 1.5}, {"interval": (2.0, 1.0)}, {"interval": (1.0,)}, {"interval": 3.0}]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`.*Received"):
        ClassifierFreeGuidance(Denoiser(), ops.ones(3), **options)


# === One value a row ===


def test_rows_with_a_rescale_of_their_own():
    """Each row as if the whole batch had its rescale; 0 changes no bit."""
    received = guided(rescale=ops.convert_to_tensor([0.0, 0.7, 1.0]))
    for row, rescale in enumerate((0.0, 0.7, 1.0)):
        for one, other in zip(received, guided(rescale=rescale), strict=True):
            np.testing.assert_array_equal(one[row], other[row])
    assert np.abs(received[0] - guided()[0])[1:].max() > 0.1


def test_rows_with_an_interval_of_their_own():
    """The second row has a sigma of 1.4."""
    low, high = np.array([0.0, 0.2, 0.0], "float32"), np.array([0.01, 5.0, 1e30], "float32")
    received, expected, all_guided = guided(interval=(low, ops.convert_to_tensor(high))), plain(), guided()
    for one, two, three in zip(received, expected, all_guided, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1:], three[1:])


@pytest.mark.parametrize("options", [{"rescale": np.array([0.5, 1.5])}, {"interval": (np.zeros(3), np.zeros(3))}])
def test_wrong_options_of_a_row(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`.*Received"):
        ClassifierFreeGuidance(Denoiser(), ops.ones(3), **options)
