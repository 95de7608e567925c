"""Golden: each sampler follows the trajectory of diffusers' scheduler of the same name."""

import pytest
from diffusion.samplers.paths import assert_diffusers
from harness import first_fast

from latentdiff.diffusion.noise_schedule import PREDICTION_TYPES
from latentdiff.diffusion.samplers import SAMPLERS

DETERMINISTIC = ["euler", "heun", "dpmpp_2m", "unipc"]


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("name", [*DETERMINISTIC, "dpmpp_2m_sde", "lcm"])
def test_trailing(monkeypatch, name, prediction_type):
    assert_diffusers(monkeypatch, SAMPLERS[name](spacing="trailing"), name, prediction_type, "trailing")


@pytest.mark.parametrize("prediction_type", ["noise", "velocity"])
def test_euler_ancestral(monkeypatch, prediction_type):
    sampler = SAMPLERS["euler_ancestral"](spacing="trailing")
    assert_diffusers(monkeypatch, sampler, "euler_ancestral", prediction_type, "trailing")


@pytest.mark.parametrize("prediction_type", first_fast(PREDICTION_TYPES))
@pytest.mark.parametrize("name", [*DETERMINISTIC, "dpmpp_2m_sde"])
def test_karras(monkeypatch, name, prediction_type):
    assert_diffusers(monkeypatch, SAMPLERS[name](spacing="karras"), name, prediction_type, "karras")
