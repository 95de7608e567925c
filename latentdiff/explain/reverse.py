"""Reverse: the clean image that the network predicts, at eight noise levels."""

import numpy as np
from keras import ops

from latentdiff.explain import style
from latentdiff.explain.lesson import BATCH_SIZE
from latentdiff.models.compilation import compile_function
from latentdiff.settings.prompt_syntax import escape

LEVELS = 8
SHOWN = 3
MEASURED = 64


def levels(schedule):
    """Eight timesteps, float32, from pure noise to a little noise."""
    return np.linspace(schedule.num_train_timesteps - 1, schedule.num_train_timesteps / 16, LEVELS, dtype="float32")


def guess(lesson, latents, noise, prompts, timesteps):
    """Noisy latents and the predictions for them.

    Args:
        latents, noise: float32 (n, h, w, channels).
        prompts: n strings.
        timesteps: (levels,).

    Returns:
        noisy latents and predictions of the clean ones, float32 (levels, n, h, w, channels) each.
    """
    model = lesson.pipeline.model

    def predict(noisy_latents, timesteps, conditioning, shares):
        return lesson.pipeline.denoiser(conditioning, shares=shares)(noisy_latents, timesteps)[0]

    predict, seen, guesses = compile_function(predict, model), [], []
    for start in range(0, len(latents), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        texts = lesson.encode_prompts(prompts[rows])
        for timestep in timesteps:
            times = np.full(len(latents[rows]), timestep, "float32")
            noisy = model.noise_schedule.add_noise(latents[rows], noise[rows], times)
            seen.append(ops.convert_to_numpy(noisy))
            guesses.append(ops.convert_to_numpy(predict(noisy, times, *texts)))
    count = len(timesteps)
    return tuple(np.stack([np.concatenate(parts[i::count]) for i in range(count)]) for parts in (seen, guesses))


def draw(lesson):
    """Noisy latents and predictions of a few images, and the error over many."""
    images, captions, real = lesson.subjects(MEASURED if lesson.real is not None else SHOWN)
    latents, schedule = lesson.encode(images), lesson.pipeline.model.noise_schedule
    timesteps = levels(schedule)
    prompts = [escape(caption) for caption in captions] if real else captions
    seen, guesses = guess(lesson, latents, lesson.initial_noise(len(latents)), prompts, timesteps)
    errors = np.mean(np.square(guesses - latents), axis=(2, 3, 4))  # (levels, n)
    average = np.mean(np.square(latents - latents.mean(0)), axis=(1, 2, 3)).mean()
    noise_rates = ops.convert_to_numpy(schedule.rates(timesteps)[1])
    figure = style.new_figure(9.9, "Reverse: a task that can be learned: predict the image below the noise")
    tiles_axes, axes = figure.subplots(2, 1, height_ratios=(6.4, 2.2))
    shown = range(min(SHOWN, len(latents)))
    pairs = [parts[:, row] for row in shown for parts in (seen, guesses)]
    tiles = lesson.decode(np.concatenate(pairs)).reshape(len(pairs), LEVELS, *images.shape[1:])
    truth = np.stack([image for row in shown for image in (np.full_like(images[0], 255), images[row])])
    tiles = np.concatenate([tiles, truth[:, None]], axis=1)
    columns = [*(f"noise {rate:.2f}" for rate in noise_rates), "the truth"]
    style.show_tiles(tiles_axes, tiles, columns, ["it sees", "it guesses"] * len(shown))
    _draw_errors(axes, noise_rates, errors, average, lesson.real.kind if real else "own")
    numbers = {"captions": [captions[row] for row in shown], "real": real, "pictures": len(latents)}
    numbers |= {"noise_rates": noise_rates, "errors": errors.mean(1), "error_of_the_average": average}
    return lesson.save(figure, "reverse", numbers, colours=128, dither=False)


def _draw_errors(axes, noise_rates, errors, average, kind):
    axes.plot(noise_rates, errors.mean(1), "o-", color=style.SIGNAL, label="mean error of the prediction")
    low, high = np.quantile(errors, (0.1, 0.9), axis=1)
    axes.fill_between(noise_rates, low, high, color=style.SIGNAL, alpha=0.15, label="8 of 10 images")
    axes.axhline(average, color=style.REFERENCE, linestyle="--", label="predicting the average image")
    axes.set(xlim=(1.02, 0), xlabel="noise rate", ylabel="squared error", ylim=(0, None))
    axes.set_title(f"Error of the prediction on {errors.shape[1]} {kind} images (in latents)")
    axes.legend()
