"""The mathematics of diffusion, on tensors; no network is known here."""
