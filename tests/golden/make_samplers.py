"""Makes samplers.npz: trajectories of diffusers' schedulers for a fixed network, and the timesteps that they visit.

    pip install torch==2.13.0 diffusers && python tests/golden/make_samplers.py

The two libraries do the same where they mean the same; so here
- spacing is "trailing" (diffusers' multistep schedulers take other timesteps for "leading" and "linspace"), or Karras
  sigmas over the whole schedule (diffusers' Euler and Heun: over the ends of "linspace");
- the network sees the fractional timestep of a Karras sigma, which diffusers' multistep schedulers round;
- the last sigma is zero, where both take a step of first order;
- LCM picks its timesteps from all 1000 ("original_inference_steps"), which is "trailing";
- Euler's schedulers hold latents / signal rate: what is stored is scaled back;
- fresh noise comes from `network.draws`, one a step.
Euler ancestral has no "latents" prediction and no Karras sigmas in diffusers.
"""

from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
from network import draws, first_latents, network

SETTINGS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TYPES = {"noise": "epsilon", "velocity": "v_prediction", "latents": "sample"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
SAMPLERS = {
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_ancestral": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpmpp_2m": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (diffusers.DPMSolverMultistepScheduler, SDE),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {"original_inference_steps": 1000}),
}
IN_SIGMA = ("euler", "euler_ancestral", "heun")


def trajectory(name, prediction_type, spacing, num_steps):
    """Timesteps (num_steps,) and the latents after each step (num_steps, ...)."""
    kind, settings = SAMPLERS[name]
    settings = {**SETTINGS, **settings, "prediction_type": TYPES[prediction_type]}
    if spacing == "karras":
        scheduler = kind(**settings, use_karras_sigmas=True, timestep_spacing="linspace")
    else:
        scheduler = kind(**settings, **({} if name == "lcm" else {"timestep_spacing": "trailing"}))
    scheduler.set_timesteps(num_steps)
    scheduler.set_begin_index(0)
    timesteps = scheduler.timesteps.numpy().astype("float64")
    if spacing == "karras" and name not in IN_SIGMA:
        log_sigmas = 0.5 * torch.log((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).numpy()
        timesteps = scheduler._sigma_to_t(scheduler.sigmas[:-1].numpy(), log_sigmas)
    sigmas = getattr(scheduler, "sigmas", None)

    def scale(index):
        return (sigmas[index] ** 2 + 1) ** 0.5 if name in IN_SIGMA else 1.0

    latents, path = torch.from_numpy(first_latents()) * scale(0), []
    for index, timestep in enumerate(scheduler.timesteps):
        fresh = torch.from_numpy(draws(index))
        seen = scheduler.scale_model_input(latents, timestep)
        prediction = torch.from_numpy(network(seen.numpy(), float(timesteps[index])).astype("float32"))
        extra = {"variance_noise": fresh} if name == "dpmpp_2m_sde" else {}
        with mock.patch(f"{type(scheduler).__module__}.randn_tensor", mock.Mock(return_value=fresh), create=True):
            latents = scheduler.step(prediction, timestep, latents, **extra).prev_sample
        path.append((latents / scale(index + 1)).numpy())
    if name == "heun":  # two calls per step but the last
        timesteps, path = np.append(timesteps[:1], timesteps[1::2]), path[1::2] + path[-1:]
    return timesteps.astype("float32"), np.stack(path)


def main():
    arrays = {}
    for name in SAMPLERS:
        for prediction_type in TYPES:
            if name == "euler_ancestral" and prediction_type == "latents":
                continue
            for spacing in ("trailing", "karras"):
                if spacing == "karras" and name in ("euler_ancestral", "lcm"):
                    continue
                for num_steps in (10, 20, 50):
                    key = f"{name}/{prediction_type}/{spacing}/{num_steps}"
                    arrays[f"timesteps/{key}"], arrays[f"path/{key}"] = trajectory(
                        name, prediction_type, spacing, num_steps
                    )
    np.savez_compressed(Path(__file__).parent / "samplers.npz", **arrays)


if __name__ == "__main__":
    main()
