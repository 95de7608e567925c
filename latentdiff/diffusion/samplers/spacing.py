"""Where between noise and data the steps of a sampler begin."""

from keras import ops

SPACINGS = ("trailing", "leading", "leading_offset", "linspace")  # those of whole timesteps
KARRAS = "karras"
MAX_SIGMA = 80.0  # Karras et al., table 1; some schedules go on to (nearly) no signal, where sigma has no end


def spread(spacing, index, num_steps, noise_schedule):
    """The timestep at step `index` of `num_steps`.

    Args:
        spacing: "trailing" starts at the last timestep and is right for few steps, "leading" is that of the DDIM paper,
            "leading_offset" that of Stable Diffusion, one timestep noisier than "leading"; "linspace" includes both
            ends; "karras" takes short steps where there is little noise, at fractional timesteps.
        index, num_steps: int (batch,), index < num_steps.
        noise_schedule: the `NoiseSchedule` of the model.

    Returns:
        float32 (batch,).

    Reference: Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, arXiv:2305.08891, table 2;
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, arXiv:2206.00364, equation 5.
    """
    total = noise_schedule.num_train_timesteps
    steps = ops.cast(num_steps, "float32")
    remaining = ops.cast(num_steps - index, "float32")
    if spacing == "trailing":
        return ops.floor(remaining * total / steps + 0.5) - 1.0
    if spacing == "leading":
        return (remaining - 1.0) * ops.floor(total / steps)
    if spacing == "leading_offset":
        return (remaining - 1.0) * ops.floor(total / steps) + ops.minimum(total - steps, 1.0)
    ahead = (remaining - 1.0) / ops.maximum(steps - 1.0, 1.0)  # from 1 at the first step to 0 at the last
    if spacing == "linspace":
        return ops.floor(ahead * (total - 1.0) + 0.5)
    return ops.where(index > 0, noise_schedule.timesteps_of(karras_sigmas(ahead, noise_schedule)), total - 1.0)


def karras_sigmas(ahead, noise_schedule, rho=7.0):
    """Noise levels whose rho-th root falls evenly from the largest of the schedule (`ahead` 1) to the smallest (0)."""
    signal_rates, noise_rates = noise_schedule.rates([0.0, noise_schedule.num_train_timesteps - 1.0])
    sigmas = ops.minimum(noise_rates / ops.maximum(signal_rates, 1e-6), MAX_SIGMA)
    low, high = ops.split(sigmas ** (1.0 / rho), 2)
    return (low + (high - low) * ops.clip(ahead, 0.0, 1.0)) ** rho
