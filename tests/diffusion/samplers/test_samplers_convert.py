"""The whole loop of a sampler as one LiteRT file of builtin operators: fractional timesteps, memory and fresh noise."""

import importlib.util

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import exact_denoiser
from harness import arrays, needs_tensorflow, normal
from models.test_convertibility import convert, read

from latentdiff import NoiseSchedule
from latentdiff.diffusion.samplers import SAMPLERS

pytestmark = needs_tensorflow


class Loop(keras.Model):
    def __init__(self, sampler):
        super().__init__()
        self.sampler = sampler

    def call(self, inputs):
        schedule, settings = NoiseSchedule("cosine"), (inputs["num_steps"], inputs["seeds"], inputs["first_step"])
        return self.sampler.sample(exact_denoiser(schedule), schedule, inputs["noisy_latents"], *settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc"])
def test_loop_in_karras_steps(name, tmp_path):
    model = Loop(SAMPLERS[name](spacing="karras"))
    inputs = {
        "noisy_latents": normal(0, 2, 2, 2, 3),
        "num_steps": np.array([6, 9], "int32"),
        "seeds": np.array([1, 2], "int32"),
        "first_step": np.array([0.0, 2.5], "float32"),
    }
    expected = arrays(model(inputs))
    content = convert(model, inputs, tmp_path / "saved")
    operators, shapes = read(content)
    assert "WHILE" in operators
    assert not {"CUSTOM", "VAR_HANDLE", "READ_VARIABLE"} & set(operators), operators
    assert max(len(shape) for shape in shapes.values()) <= 4
    if importlib.util.find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter

        (received,) = Interpreter(model_content=content).get_signature_runner()(**inputs).values()
        np.testing.assert_allclose(received, expected, atol=1e-3)
