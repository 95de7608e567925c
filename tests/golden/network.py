"""A network without weights, and the noise that goes with it, for trajectories that two libraries can share."""

import numpy as np

SHAPE = (1, 2, 2, 3)


def first_latents():
    return np.random.RandomState(0).standard_normal(SHAPE).astype("float32")


def draws(index):
    """The fresh noise of step `index`."""
    return np.random.RandomState(1000 + index).standard_normal(SHAPE).astype("float32")


def network(noisy_latents, timestep, ops=np):
    """Smooth, bounded, and different at each timestep; `ops` is numpy or keras.ops."""
    return 0.9 * ops.sin(1.3 * noisy_latents + timestep / 300.0) + 0.2 * ops.cos(timestep / 70.0)
