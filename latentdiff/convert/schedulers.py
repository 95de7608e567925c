"""Schedulers of diffusers as a noise schedule, a prediction type and the default sampler of a pipeline."""

KINDS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
PREDICTION_TYPES = {"epsilon": "noise", "v_prediction": "velocity", "sample": "latents"}
# Name of the sampler, and default spacing in diffusers. PNDM has no sampler here and gets a better one.
SAMPLERS = {
    "DDIMScheduler": ("ddim", "leading"),
    "DDPMScheduler": ("ddpm", "leading"),
    "DPMSolverMultistepScheduler": ("dpmpp_2m", "linspace"),
    "EulerAncestralDiscreteScheduler": ("euler_ancestral", "linspace"),
    "EulerDiscreteScheduler": ("euler", "linspace"),
    "HeunDiscreteScheduler": ("heun", "linspace"),
    "LCMScheduler": ("lcm", "trailing"),
    "PNDMScheduler": ("dpmpp_2m", "trailing"),
    "UniPCMultistepScheduler": ("unipc", "linspace"),
}


def schedule_arguments(config):
    """Arguments of `NoiseSchedule`, and the prediction type, from the `Config` of a scheduler.

    Raises:
        ValueError: a schedule or a prediction type that `NoiseSchedule` does not have; names it.
    """
    config.expect(trained_betas=None, thresholding=False)
    kind, prediction_type = config.take("beta_schedule", "linear"), config.take("prediction_type", "epsilon")
    for name, value, known in (
        ("beta_schedule", kind, KINDS),
        ("prediction_type", prediction_type, PREDICTION_TYPES),
    ):
        if value not in known:
            raise ValueError(f"`{name}` in {config.path} must be one of {sorted(known)}. Received: {name}={value!r}")
    arguments = {
        "kind": KINDS[kind],
        "num_train_timesteps": config.take("num_train_timesteps", 1000),
        "beta_start": config.take("beta_start", 0.0001),
        "beta_end": config.take("beta_end", 0.02),
        "zero_terminal_snr": config.take("rescale_betas_zero_snr", False),
    }
    return arguments, PREDICTION_TYPES[prediction_type]


def default_sampler(config):
    """The sampler of a scheduler of this `Config`, as name and arguments.

    diffusers' pipelines of Stable Diffusion set `steps_offset` to 1 and `clip_sample` to false, whatever is there.

    Raises:
        ValueError: a scheduler that has no sampler here.
    """
    if config.class_name not in SAMPLERS:
        raise ValueError(
            f"The scheduler in {config.path} must be one of {sorted(SAMPLERS)}. Received: {config.class_name!r}"
        )
    name, spacing = SAMPLERS[config.class_name]
    if config.take("algorithm_type", "dpmsolver++") == "sde-dpmsolver++":
        name = "dpmpp_2m_sde"
    if config.class_name != "PNDMScheduler":
        spacing = config.take("timestep_spacing", spacing)
    if config.take("use_karras_sigmas", False):
        spacing = "karras"
    return {"name": name, "spacing": "leading_offset" if spacing == "leading" else spacing}


# === Back ===


def scheduler_config(noise_schedule, prediction_type, sampler):
    """The config of the scheduler with a `NoiseSchedule` and a `Sampler`.

    Raises:
        ValueError: a schedule, a sampler or a setting of one that diffusers does not have.
    """
    kinds = {ours: theirs for theirs, ours in KINDS.items()}
    names = {ours: theirs for theirs, (ours, _) in SAMPLERS.items() if theirs != "PNDMScheduler"}
    name, rest = sampler["name"], {key: value for key, value in sampler.items() if key not in ("name", "spacing")}
    is_sde = name == "dpmpp_2m_sde"
    scheduler = names.get("dpmpp_2m" if is_sde else name)
    if noise_schedule.kind not in kinds or scheduler is None or rest or sampler["spacing"] == "leading":
        raise ValueError(
            f"`noise_schedule` must be one of {sorted(kinds)}, and `sampler` one of {sorted(names)} with any `spacing` "
            f"but 'leading', for diffusers. Received: kind={noise_schedule.kind!r}, sampler={sampler}"
        )
    types = {ours: theirs for theirs, ours in PREDICTION_TYPES.items()}
    config = {
        "_class_name": scheduler,
        "beta_schedule": kinds[noise_schedule.kind],
        "beta_start": noise_schedule.beta_start,
        "beta_end": noise_schedule.beta_end,
        "num_train_timesteps": noise_schedule.num_train_timesteps,
        "rescale_betas_zero_snr": noise_schedule.zero_terminal_snr,
        "prediction_type": types[prediction_type],
        "clip_sample": False,
        "steps_offset": 1,
        "set_alpha_to_one": True,
    }
    return config | _spacing(sampler["spacing"]) | ({"algorithm_type": "sde-dpmsolver++"} if is_sde else {})


def _spacing(spacing):
    if spacing == "karras":
        return {"use_karras_sigmas": True}
    return {"timestep_spacing": "leading" if spacing == "leading_offset" else spacing}
