import numpy as np
import pytest
from harness import arrays, gap, normal, randomize, tiny_text_to_image, tiny_unet

from latentdiff import NoiseSchedule, TextToImage
from latentdiff.diffusion.guidance import GUIDANCE, Autoguidance

LATENTS, TIMESTEPS = normal(0, 2, 2, 2, 3), np.array([3.0, 500.0], "float32")


class Answer:
    noise_schedule = NoiseSchedule("cosine")

    def __init__(self, seed):
        self.answer = normal(seed, 2, 2, 2, 3)

    def __call__(self, noisy_latents, timesteps):
        return self.answer + 0.0 * noisy_latents, noisy_latents - self.answer


def test_it_goes_from_the_guide_to_the_network_and_beyond():
    network, guide = Answer(1), Answer(2)
    scales = np.array([1.0, 3.0], "float32")
    latents, noise = arrays(Autoguidance(network, guide, scales)(LATENTS, TIMESTEPS))
    extra = (scales - 1.0).reshape(2, 1, 1, 1) * (network.answer - guide.answer)
    np.testing.assert_allclose(latents, network.answer + extra, atol=1e-5)
    np.testing.assert_allclose(noise, LATENTS - network.answer - extra, atol=1e-5)


def test_it_has_rescale_and_interval_like_all_kinds():
    network, guide = Answer(1), Answer(2)
    latents, _ = arrays(Autoguidance(network, guide, np.full(2, 4.0, "float32"), 1.0)(LATENTS, TIMESTEPS))
    np.testing.assert_allclose(latents.std((1, 2, 3)), network.answer.std((1, 2, 3)), rtol=1e-4)
    assert GUIDANCE["autoguidance"] is Autoguidance


@pytest.mark.slow
def test_pictures_by_a_second_network(tmp_path):
    plain = tiny_text_to_image()
    network = plain.model.network
    guided = TextToImage(plain.model, num_steps=3, guidance_scale=2.0, guide=randomize(tiny_unet(), seed=5))
    expected = plain.generate("a cat", seed=1, guidance_scale=1.0)
    assert gap(guided.generate("a cat", seed=1, guidance_scale=1.0), expected) <= 1
    assert gap(guided.generate("a cat", seed=1), expected) > 2
    by_itself = TextToImage(plain.model, num_steps=3, guidance_scale=7.0, guide=network)
    assert gap(by_itself.generate("a cat", seed=1), expected) <= 1
    both = guided.generate(["red:1 | a cat:2", "a cat"], seed=1)
    assert gap(both[1], guided.generate("a cat", seed=1)) <= 2
    with pytest.raises(ValueError, match="`negative_prompts` needs a pipeline without `guide`"):
        guided.generate("a cat", negative_prompts="red")
    with pytest.raises(ValueError, match="`guide` is in no preset and no export"):
        guided.save_to_preset(tmp_path / "preset")
