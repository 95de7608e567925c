import numpy as np
import pytest

from latentdiff import NoiseSchedule
from latentdiff.convert.configs import Config
from latentdiff.convert.schedulers import SAMPLERS, default_sampler, schedule_arguments
from latentdiff.diffusion import samplers

SD15 = {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def config(**changes):
    return Config({**SD15, **changes}, "scheduler_config.json")


def test_schedule():
    arguments, prediction_type = schedule_arguments(config())
    assert prediction_type == "noise"
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal_rates, _ = NoiseSchedule(**arguments).rates(np.array([0.0, 981.0]))
    np.testing.assert_allclose(signal_rates, np.sqrt(np.cumprod(1.0 - betas))[[0, 981]], rtol=1e-5)


def test_zero_terminal_snr():
    arguments, prediction_type = schedule_arguments(config(prediction_type="v_prediction", rescale_betas_zero_snr=True))
    assert prediction_type == "velocity"
    signal_rates, _ = NoiseSchedule(**arguments).rates(np.array([999.0]))
    np.testing.assert_allclose(signal_rates, [0.0], atol=1e-6)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, {"name": "dpmpp_2m", "spacing": "trailing"}),
        ({"_class_name": "DDIMScheduler"}, {"name": "ddim", "spacing": "leading_offset"}),
        ({"_class_name": "EulerDiscreteScheduler"}, {"name": "euler", "spacing": "linspace"}),
        (
            {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"},
            {"name": "euler", "spacing": "leading_offset"},
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True},
            {"name": "dpmpp_2m", "spacing": "karras"},
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
            {"name": "dpmpp_2m_sde", "spacing": "linspace"},
        ),
    ],
)
def test_default_sampler(changes, expected):
    assert default_sampler(config(**changes)) == expected


@pytest.mark.parametrize("class_name", SAMPLERS)
def test_every_scheduler_has_a_sampler(class_name):
    assert samplers.get(default_sampler(config(_class_name=class_name)))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"beta_schedule": "sigmoid"}, "`beta_schedule` in .* must be one of .*Received: beta_schedule='sigmoid'"),
        ({"prediction_type": "flow"}, "`prediction_type` in .* must be one of .*Received: prediction_type='flow'"),
        ({"trained_betas": [0.1]}, "`trained_betas` in .* must be None"),
        ({"thresholding": True}, "`thresholding` in .* must be False"),
        ({"_class_name": "VQDiffusionScheduler"}, "must be one of .*Received: 'VQDiffusionScheduler'"),
    ],
)
def test_unknown_schedulers(changes, message):
    with pytest.raises(ValueError, match=message):
        schedule_arguments(config(**changes))
        default_sampler(config(**changes))
