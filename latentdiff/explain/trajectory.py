"""Trajectory: noisy latents and predictions, from noise to image."""

import numpy as np
from keras import ops

from latentdiff.data.images import image_grid, save_animation
from latentdiff.diffusion import samplers
from latentdiff.diffusion.watching import observe, watch
from latentdiff.explain import style
from latentdiff.models.compilation import compile_function

SHOWN = 8


def watch_loop(lesson, prompt, num_steps):
    """Draws one image and keeps what is on the way.

    Returns:
        states: float32 (num_steps + 1, h, w, channels), the latents before each step and at the end, from the initial
            noise at the sampler's temperature on.
        guesses: float32 (num_steps, h, w, channels), the clean latents that the network predicted in each step, guided.
    """
    pipeline, sampler = lesson.pipeline, samplers.get(lesson.pipeline.sampler)
    seeds, counts = np.array([lesson.seed], "int32"), np.array([num_steps], "int32")
    schedule, texts = pipeline.model.noise_schedule, lesson.encode_prompts([prompt, ""])

    def step(noisy_latents, state, index, conditioning, shares):
        scale = np.array([pipeline.guidance_scale], "float32")
        denoiser = pipeline.denoiser(conditioning, guidance_scale=scale, shares=shares)
        return observe(sampler, denoiser, schedule, noisy_latents, state, index, counts, seeds)

    compiled, noise = compile_function(step, pipeline.model), ops.convert_to_tensor(lesson.initial_noise(1))
    frames = list(watch(sampler, schedule, lambda *values: compiled(*values, *texts), noise, counts))
    states = [frame.noisy_latents for frame in frames]
    guesses = [frame.pred_latents for frame in frames[1:]]
    return tuple(np.concatenate([ops.convert_to_numpy(x) for x in parts]) for parts in (states, guesses))


def draw(lesson):
    """A strip of some steps, and an animation of all."""
    prompt = lesson.prompts[0]
    num_steps = lesson.pipeline.num_steps
    states, guesses = watch_loop(lesson, prompt, num_steps)
    states, guesses = lesson.decode(states), lesson.decode(guesses)
    guesses = np.concatenate([guesses, states[-1:]])
    shown = np.linspace(0, num_steps, SHOWN).round().astype(int)
    figure = style.new_figure(3.2, f"From noise to “{prompt}” in {num_steps} steps")
    columns = [f"step {step}" for step in shown]
    tiles = np.stack([states[shown], guesses[shown]])
    style.show_tiles(figure.add_subplot(), tiles, columns, ["what is there", "what it\nguesses"])
    frames = [image_grid(np.stack(pair), columns=2, padding=4) for pair in zip(states, guesses, strict=True)]
    animation = lesson.output / "trajectory.gif"
    save_animation(animation, frames, milliseconds=280, hold=2500)
    changes = np.abs(np.diff(guesses.astype("float32"), axis=0)).mean((1, 2, 3))
    numbers = {"prompt": prompt, "num_steps": num_steps, "change_of_the_guess_in_levels": changes}
    return [*lesson.save(figure, "trajectory", numbers), animation]
