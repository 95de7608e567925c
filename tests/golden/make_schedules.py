"""Makes schedules.npz: alpha_bar of diffusers' schedules, and trajectories of its samplers for a fixed network.

pip install torch==2.13.0 diffusers && python tests/golden/make_schedules.py
"""

from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
from network import draws, first_latents, network

BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
KINDS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
TYPES = {"noise": "epsilon", "velocity": "v_prediction", "latents": "sample"}


def alpha_bars():
    for kind, name in KINDS.items():
        scheduler = diffusers.DDPMScheduler(beta_schedule=name, **BETAS)
        yield f"alpha_bars/{kind}", scheduler.alphas_cumprod.numpy()
    rescaled = diffusers.DDIMScheduler(beta_schedule="scaled_linear", rescale_betas_zero_snr=True, **BETAS)
    yield "alpha_bars/scaled_linear_zero_snr", rescaled.alphas_cumprod.numpy()


def trajectory(scheduler, num_steps, **step):
    """Timesteps (num_steps,) and the latents after each step (num_steps, ...)."""
    scheduler.set_timesteps(num_steps)
    noisy_latents, path = torch.from_numpy(first_latents()), []
    for index, timestep in enumerate(scheduler.timesteps):
        fresh = torch.from_numpy(draws(index))
        prediction = torch.from_numpy(network(noisy_latents.numpy(), float(timestep)).astype("float32"))
        if step.get("eta"):
            step["variance_noise"] = fresh
        # DDPM takes no noise from outside.
        with mock.patch(
            "diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *args, fresh=fresh, **kwargs: fresh
        ):
            noisy_latents = scheduler.step(prediction, timestep, noisy_latents, **step).prev_sample
        path.append(noisy_latents.numpy())
    return scheduler.timesteps.numpy().astype("float32"), np.stack(path)


def trajectories():
    shared = {"beta_schedule": "scaled_linear", "clip_sample": False, **BETAS}
    for prediction_type, name in TYPES.items():
        # DDIM with "linspace" is left out: diffusers steps by T // num_steps there, past the timesteps that it visits.
        for spacing in ("trailing", "leading"):
            settings = {**shared, "prediction_type": name, "timestep_spacing": spacing}
            for num_steps in (10, 20, 50):
                for eta in (0.0, 0.5):
                    key = f"ddim_{eta}/{prediction_type}/{spacing}/{num_steps}"
                    yield key, trajectory(diffusers.DDIMScheduler(**settings), num_steps, eta=eta)
        for spacing in ("trailing", "leading", "linspace"):
            settings = {**shared, "prediction_type": name, "timestep_spacing": spacing}
            for num_steps in (10, 20, 50):
                yield (
                    f"ddpm/{prediction_type}/{spacing}/{num_steps}",
                    trajectory(diffusers.DDPMScheduler(**settings), num_steps),
                )
    zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    for num_steps in (10, 20, 50):
        scheduler = diffusers.DDIMScheduler(**shared, **zero_snr)
        yield f"ddim_zero_snr/velocity/trailing/{num_steps}", trajectory(scheduler, num_steps, eta=0.0)


def main():
    arrays = dict(alpha_bars())
    for key, (timesteps, path) in trajectories():
        arrays[f"timesteps/{key}"], arrays[f"path/{key}"] = timesteps, path
    np.savez_compressed(Path(__file__).parent / "schedules.npz", **arrays)


if __name__ == "__main__":
    main()
