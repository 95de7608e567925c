"""Baselines: a VAE and a GAN on the latents of diffusion, to compare diffusion with."""
