import numpy as np
import pytest
from harness import arrays, assert_close, normal
from keras import ops

from latentdiff.diffusion.guidance import ClassifierFreeGuidance

LATENTS, TIMESTEPS = normal(0, 3, 2, 2, 3), np.array([3.0, 500.0, 900.0], "float32")
DIRECTION = normal(1, 6, 2, 2, 3)  # what each of the prompts, then each of the negative prompts, asks for


def denoiser(noisy_latents, timesteps):
    """Answers by prompt, that is by place in the batch."""
    direction = DIRECTION if len(noisy_latents) == 6 else DIRECTION[:3]
    pred_latents = noisy_latents * ops.reshape(timesteps, (-1, 1, 1, 1)) / 1000.0 + direction
    return pred_latents, 2.0 * noisy_latents - direction


def guided(*scales):
    return ClassifierFreeGuidance(denoiser, np.array(scales, "float32"))(LATENTS, TIMESTEPS)


def test_scale_1_equals_plain():
    assert_close(guided(1.0, 1.0, 1.0), denoiser(LATENTS, TIMESTEPS), 1e-6)


def test_scale_0_follows_the_negative_prompt():
    plain = arrays(denoiser(LATENTS, TIMESTEPS))
    pred_latents, pred_noise = arrays(guided(0.0, 0.0, 0.0))
    np.testing.assert_allclose(pred_latents, plain[0] - DIRECTION[:3] + DIRECTION[3:], atol=1e-5)
    np.testing.assert_allclose(pred_noise, plain[1] + DIRECTION[:3] - DIRECTION[3:], atol=1e-5)


@pytest.mark.parametrize("scales", [(1.0, 3.0, 7.5)])
def test_it_exaggerates_in_proportion_each_row_by_its_own_scale(scales):
    pred_latents, pred_noise = arrays(guided(*scales))
    plain = arrays(denoiser(LATENTS, TIMESTEPS))
    extra = (np.array(scales).reshape(3, 1, 1, 1) - 1) * (DIRECTION[:3] - DIRECTION[3:])
    np.testing.assert_allclose(pred_latents, plain[0] + extra, atol=1e-5)
    np.testing.assert_allclose(pred_noise, plain[1] - extra, atol=1e-5)
