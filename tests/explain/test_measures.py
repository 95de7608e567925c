"""The numbers behind the figures, against what they must be."""

import types

import numpy as np
import pytest
from harness import first_fast, normal, tiny_text_to_image
from keras import ops

from latentdiff import TextToImage
from latentdiff.diffusion.noise_schedule import KINDS, NoiseSchedule
from latentdiff.explain import forward, guidance, reverse, steps, trajectory
from latentdiff.explain.lesson import Lesson


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    return Lesson(tiny_text_to_image(), tmp_path_factory.mktemp("out"), prompts=["a cat", "a red apple"])


@pytest.mark.parametrize("kind", KINDS)
def test_forward_goes_from_the_picture_to_its_rates_at_the_end(kind):
    rng, schedule = np.random.default_rng(0), NoiseSchedule(kind)
    latents, noise = rng.standard_normal((2, 4, 4, 3)).astype("float32")
    stages = forward.destroy(latents, noise, schedule)
    np.testing.assert_allclose(stages[0], latents, atol=1e-6)
    _, signal, noise_rates = forward.rates(schedule)
    np.testing.assert_allclose(stages[-1], signal[-1] * latents + noise_rates[-1] * noise, atol=1e-5)
    correlation = [np.corrcoef(stage.ravel(), latents.ravel())[0, 1] for stage in stages]
    assert correlation[0] > correlation[4] > correlation[-1]


def test_the_schedule_of_the_model_stands_for_its_kind():
    own = NoiseSchedule("linear", beta_end=0.02)
    assert forward.schedules(own)["linear"] is own and list(forward.schedules(own)) == list(KINDS)


def test_an_oracle_guesses_without_error_and_sees_more_noise_first(lesson):
    latents, noise = np.random.default_rng(0).standard_normal((2, 3, *lesson.pipeline.latent_shape)).astype("float32")
    model = lesson.pipeline.model

    def knows_the_answer(conditioning, shares):
        return lambda noisy_latents, timesteps: (ops.convert_to_tensor(latents), noisy_latents)

    pipeline = types.SimpleNamespace(model=model, denoiser=knows_the_answer)
    timesteps = reverse.levels(model.noise_schedule)
    oracle = types.SimpleNamespace(pipeline=pipeline, encode_prompts=lesson.encode_prompts)
    seen, guesses = reverse.guess(oracle, latents, noise, ["a cat"] * 3, timesteps)
    assert seen.shape == guesses.shape == (reverse.LEVELS, *latents.shape)
    np.testing.assert_array_equal(guesses, np.broadcast_to(latents, guesses.shape))
    distance = np.abs(seen - latents).mean((1, 2, 3, 4))
    assert (np.diff(distance) < 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("prompt", first_fast(["red:1 | a cat:2", "a cat", "a (red:5) cat"]))
def test_the_trajectory_ends_at_the_picture_that_generate_makes(prompt, lesson):
    states, guesses = trajectory.watch_loop(lesson, prompt, 3)
    assert len(states) == 4 and len(guesses) == 3
    expected = lesson.generate([prompt], [lesson.seed], num_steps=3)
    assert np.abs(lesson.decode(states[-1:]).astype(int) - expected).max() <= 2
    np.testing.assert_allclose(states[0], lesson.initial_noise(1)[0])


@pytest.mark.slow
def test_the_trajectory_begins_at_the_noise_that_is_used(lesson):
    pipeline = TextToImage.from_pipeline(lesson.pipeline, sampler={"name": "ddim", "temperature": 0.5})
    cold = Lesson(pipeline, lesson.output, prompts=lesson.prompts)
    states, guesses = trajectory.watch_loop(cold, "a cat", 2)
    np.testing.assert_allclose(states[0], 0.5 * cold.initial_noise(1)[0])
    expected = cold.generate(["a cat"], [cold.seed], num_steps=2)
    assert np.abs(cold.decode(states[-1:]).astype(int) - expected).max() <= 2


@pytest.mark.slow
def test_the_guess_follows_weights_and_mixtures(lesson):
    latents, noise = normal(0, 1, 4, 4, 3), normal(1, 1, 4, 4, 3)
    guesses = {
        prompt: reverse.guess(lesson, latents, noise, [prompt], [500.0])[1]
        for prompt in ("a red cat", "a (red:0) cat", "a red cat:1 | a rocket:0", "a red cat:1 | a rocket:1")
    }
    plain, without_red, one_end, between = guesses.values()
    np.testing.assert_allclose(one_end, plain, atol=1e-5)
    assert np.abs(without_red - plain).max() > 1e-3 and np.abs(between - plain).max() > 1e-3


def test_differences_are_from_the_last():
    pictures = np.array([[[[[10, 10, 10]]]], [[[[30, 30, 30]]]]], "uint8")
    assert steps.differences(pictures).tolist() == [[20.0], [0.0]]


@pytest.mark.slow
def test_steps_measure_every_count(lesson, monkeypatch):
    monkeypatch.setattr(steps, "COUNTS", (1, 3))
    pictures, seconds = steps.measure(lesson, ["a cat", "a red apple"])
    assert pictures.shape[:2] == (2, 2) and (seconds > 0).all()
    np.testing.assert_array_equal(pictures[1], lesson.generate(["a cat", "a red apple"], [7, 8], num_steps=3))


def test_truth_counts_nearest_pictures_of_the_thing_asked():
    real, labels = np.eye(3), ["cat", "dog", "cat"]
    features = np.array([[1, 0.1, 0], [0.1, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert guidance.truth(real[:2], ["cat", "cat"], real, labels) == (0.5, 0.5)
    assert guidance.truth(features, ["cat", "cat", "cat", "dog"], real, labels)[1] == 0.5


def test_spread_is_one_for_unlike_and_zero_for_equal_pictures():
    assert guidance.spread(np.eye(4)) == pytest.approx(1.0)
    assert guidance.spread(np.ones((3, 2))) == pytest.approx(0.0, abs=1e-6)
