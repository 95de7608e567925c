"""Distillation: targets by law, who learns and who does not, and that few steps come to do what many did."""

import keras
import numpy as np
import pytest
from diffusion.samplers.gaussian import exact_denoiser
from harness import arrays, assert_close, compile_quietly, largest_change, normal, tiny_latent_diffusion
from keras import ops

from latentdiff import NoiseSchedule
from latentdiff.diffusion.distillation import Trajectory, line_through
from latentdiff.diffusion.samplers import DDIM, DPMPP2M
from latentdiff.models.distilled_diffusion import DistilledDiffusion
from latentdiff.pipelines.loop import make_denoiser

SCHEDULES = [NoiseSchedule(), NoiseSchedule("scaled_linear", zero_terminal_snr=True), NoiseSchedule("rectified_flow")]
DATA = {"latents": normal(0, 8, 4, 4, 3), "captions": ["a red apple", "a small cat"] * 4}


# === Targets ===


def moments(num_steps, schedule, *places):
    trajectory = Trajectory(schedule, num_steps)
    return [trajectory.moment(np.array(place, "float32"), len(place)) for place in places]


@pytest.mark.parametrize("sampler", [DDIM(), DPMPP2M()], ids=["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.kind)
def test_each_step_of_the_student_is_three_of_an_exact_teacher(schedule, sampler):
    """The loop of the sampler, in three times the steps, is the independent side: a target leads where it is then."""
    noise, teacher = ops.convert_to_tensor(normal(1, 2, 2, 2, 3)), exact_denoiser(schedule)
    noisy_latents, _, *answer = Trajectory(schedule, 3, 3, sampler).examples(teacher, noise)
    here, there = moments(3, schedule, [0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 3, 3])
    assert_close(_step(answer, here), noisy_latents, 2e-5)
    assert_close(noisy_latents[:2], noise, 0)
    for step in (1, 2):
        assert_close(_step(answer, there)[2 * step - 2 : 2 * step], noisy_latents[2 * step : 2 * step + 2], 2e-5)
    expected = sampler.sample(teacher, schedule, noise, np.full(2, 9, "int32"), seeds=None)
    assert_close(_step(answer, there)[4:], expected, 2e-5)


def _step(answer, there):
    """DDIM, written out: Song et al., equation 12."""
    pred_latents, pred_noise = answer
    return there.signal_rates * pred_latents + there.noise_rates * pred_noise


def test_parts_of_a_step_are_the_steps_of_the_teacher():
    schedule = NoiseSchedule()
    (here,) = moments(5, schedule, np.arange(11) / 2)
    steps = DDIM().timesteps(np.arange(11, dtype="int32"), np.full(11, 10, "int32"), schedule)
    assert_close(here.timesteps, steps, 1e-3)


def test_a_line_through_two_moments_of_known_latents_and_noise():
    latents, noise = normal(0, 2, 3, 3, 1), normal(1, 2, 3, 3, 1)
    here, there = moments(2, SCHEDULES[1], [0, 1], [1, 2])
    at_both = (moment.signal_rates * latents + moment.noise_rates * noise for moment in (here, there))
    assert_close(line_through(*at_both, here, there), (latents, noise), 1e-5)


def test_fresh_noise_cannot_be_distilled():
    trajectory = Trajectory(NoiseSchedule(), 1, sampler=DDIM(eta=0.5))
    with pytest.raises(ValueError, match="`sampler` must add no fresh noise"):
        trajectory.examples(exact_denoiser(trajectory.noise_schedule), ops.zeros((1, 2, 2, 3)))


# === The model ===


def student(temperature=1.0, **settings):
    return DistilledDiffusion(tiny_latent_diffusion(**settings), temperature)


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_examples_lie_on_the_way_of_the_guided_teacher(scale):
    """The loop of the sampler is the independent side: the last example ends where it ends in twice the steps."""
    model = student(temperature=0.7, prediction_type="velocity", noise_schedule=NoiseSchedule())
    model.begin_phase(2, None if scale == 1.0 else {"guidance_scale": scale})
    examples = model(DATA)
    schedule, draws = model.noise_schedule, model._draw(ops.convert_to_tensor(DATA["latents"]), (4, 4, 3), False)
    texts = DATA["captions"] + ([""] * 8 if scale != 1.0 else [])
    conditioning = model.condition(ops.convert_to_tensor(model.text_encoder.tokenize(texts)))
    guidance = None if scale == 1.0 else (np.full(8, scale, "float32"), 0.0, None)
    teacher, rows = make_denoiser(model, conditioning, guidance), np.full(8, 4, "int32")
    expected = DDIM(temperature=0.7).sample(teacher, schedule, draws, rows, seeds=None)
    here, there = moments(2, schedule, [0] * 8 + [1] * 8, [1] * 8 + [2] * 8)
    begun = ops.concatenate([0.7 * draws, _halfway(teacher, 0.7 * draws, schedule)])
    answer = schedule.split(examples["target"], begun, here.timesteps, "velocity")
    assert_close(_step(answer, there)[8:], expected, 1e-4)


def _halfway(teacher, noise, schedule):
    for place in (0, 1):
        here, there = moments(4, schedule, [place] * 8, [place + 1] * 8)
        noise = _step(teacher(noise, here.timesteps), there)
    return noise


@pytest.mark.parametrize("rank", [None, 2])
def test_only_the_student_learns(rank):
    model = student()
    if rank:
        model.lora.add(rank=rank, targets=("linear", "convolution"))
    model.begin_phase(2, {"guidance_scale": 2.0})
    teacher, network = model.teacher.get_weights(), model.network.get_weights()
    compile_quietly(model).fit(DATA, epochs=2, verbose=0)
    assert largest_change(teacher, model.teacher.get_weights()) == 0.0
    assert (largest_change(network, model.network.get_weights()) == 0.0) == bool(rank)
    if rank:
        assert max(np.abs(arrays(up)).max() for _, up in model.lora["lora"].matrices.values()) > 0.0
    model.begin_phase(1)
    with model.lora.merged():
        assert largest_change(model.teacher.get_weights(), model.network.get_weights()) == 0.0
    assert largest_change(teacher, model.teacher.get_weights()) > 0.0


def test_a_phase_has_steps():
    with pytest.raises(ValueError, match="`num_steps` must be a whole number from 1 to 500"):
        student().begin_phase(0)


@pytest.mark.slow
def test_few_steps_come_to_do_what_many_did():
    """One unguided step is nearer to the guided teacher's four after two phases than before them."""
    model = student(noise_schedule=NoiseSchedule(), prediction_type="velocity")
    noise, texts = ops.convert_to_tensor(normal(3, 64, 4, 4, 3)), ["a red apple", "a small cat"] * 32
    data = {"latents": normal(0, 64, 4, 4, 3), "captions": texts}
    tokens = ops.convert_to_tensor(model.text_encoder.tokenize([*texts, *[""] * 64]))
    conditioning = model.condition(tokens)
    plain = {name: member[:64] for name, member in conditioning.items()}

    def sampled(num_steps, scale):
        guidance = None if scale == 1.0 else (np.full(64, scale, "float32"), 0.0, None)
        denoiser = make_denoiser(model, plain if guidance is None else conditioning, guidance)
        rows = np.full(64, num_steps, "int32")
        return arrays(DDIM().sample(denoiser, model.noise_schedule, noise, rows, seeds=None))

    expected, before = sampled(4, 1.5), sampled(1, 1.0)
    for num_steps, guidance in ((2, {"guidance_scale": 1.5}), (1, None)):
        model.begin_phase(num_steps, guidance)
        model.compile(optimizer=keras.optimizers.Adam(5e-3))
        model.fit(data, batch_size=64, epochs=100, verbose=0)
    after = sampled(1, 1.0)
    assert np.square(after - expected).mean() < 0.25 * np.square(before - expected).mean()
