"""Forward: noise is added in small even steps until nothing else is left."""

import numpy as np
from keras import ops

from latentdiff.diffusion.noise_schedule import KINDS, NoiseSchedule
from latentdiff.explain import style
from latentdiff.models.pixels import to_float, to_uint8

STAGES = 9
POINTS = 101
SIDE = 64  # of the images shown, in pixels


def destroy(latents, noise, schedule, count=STAGES):
    """`count` stages, evenly spread over time, from clean to the noisiest: float32 (count, ...) of (...)."""
    timesteps = np.linspace(-1, schedule.num_train_timesteps - 1, count, dtype="float32")
    many = (np.broadcast_to(array, (count, *array.shape)) for array in (latents, noise))
    return ops.convert_to_numpy(schedule.add_noise(*many, timesteps))


def schedules(own):
    """One schedule of each kind; the model's own stands for its kind."""
    others = {kind: NoiseSchedule(kind, own.num_train_timesteps) for kind in KINDS}
    return {**others, own.kind: own}


def rates(schedule, count=POINTS):
    """(share of time, signal rates, noise rates), each (count,)."""
    timesteps = np.linspace(-1, schedule.num_train_timesteps - 1, count, dtype="float32")
    return np.linspace(0, 1, count), *(ops.convert_to_numpy(rate) for rate in schedule.rates(timesteps))


def as_colours(latents, side):
    """The first three channels of latents (n, h, w, channels) as uint8 colours (n, about side, about side, 3)."""
    colours = np.pad(latents[..., :3], ((0, 0),) * 3 + ((0, max(0, 3 - latents.shape[-1])),))
    colours = ops.convert_to_numpy(to_uint8(colours / 2.5))  # 2.5 standard deviations are black or white
    factor = max(1, side // latents.shape[1])
    return colours.repeat(factor, axis=1).repeat(factor, axis=2)


def draw(lesson):
    """Two rows of tiles per schedule, pixels and latents, and its rates as curves."""
    images, captions, _ = lesson.subjects(1)
    latents, factor = lesson.encode(images)[0], max(1, images.shape[1] // SIDE)
    height, width = (side // factor for side in images.shape[1:3])
    pixels = ops.convert_to_numpy(to_float(images[0]))
    pixels = pixels.reshape(height, factor, width, factor, 3).mean((1, 3))
    pixel_noise = np.random.default_rng(lesson.seed).standard_normal(pixels.shape).astype("float32")
    latent_noise, numbers = lesson.initial_noise(1)[0], {"caption": captions[0]}
    figure = style.new_figure(8.2, "Forward: noise destroys any image, and no learning is needed")
    grid = figure.add_gridspec(len(KINDS), 2, width_ratios=(4.2, 1))
    for row, (kind, schedule) in enumerate(schedules(lesson.pipeline.model.noise_schedule).items()):
        seen = ops.convert_to_numpy(to_uint8(destroy(pixels, pixel_noise, schedule)))
        colours = as_colours(destroy(latents, latent_noise, schedule), height)
        tiles = np.stack([seen, colours[:, :height, :width]]) if colours.shape[1:] == seen.shape[1:] else seen[None]
        axes = figure.add_subplot(grid[row, 0])
        times = [f"{share:.0%}" for share in np.linspace(0, 1, STAGES)]
        style.show_tiles(axes, tiles, times if row == 0 else None, ["pixels", "latents"][: len(tiles)])
        own = " (this model's)" if schedule is lesson.pipeline.model.noise_schedule else ""
        axes.set_title(f"{kind.replace('_', ' ')}{own}", fontsize=11)
        numbers[kind] = _draw_rates(figure.add_subplot(grid[row, 1]), schedule, row)
    return lesson.save(figure, "forward", numbers, colours=40, dither=False)


def _draw_rates(axes, schedule, row):
    share, signal, noise = rates(schedule)
    axes.plot(100 * share, signal, color=style.SIGNAL, label="signal")
    axes.plot(100 * share, noise, color=style.NOISE, label="noise")
    axes.set(xlim=(0, 100), ylim=(0, 1.05), xticks=[0, 50, 100], yticks=[0, 0.5, 1])
    if row == 0:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=10, handlelength=1)
    if row == len(KINDS) - 1:
        axes.set_xlabel("time, %")
    shown = slice(None, None, (POINTS - 1) // 10)
    return {"time": share[shown], "signal_rates": signal[shown], "noise_rates": noise[shown]}
