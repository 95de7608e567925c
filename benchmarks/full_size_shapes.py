"""What both sides of `benchmarks.full_size` measure, and how."""

import statistics
import time

STEPS, SCALE = 20, 7.5
BATCH, SIDE, CHANNELS, TOKENS, WIDTH = 16, 64, 4, 77, 768
TRAINING_STEPS = 10  # in one timed call
RATE, MOMENTUM = 1e-5, 0.999
RANK = 16
XL_SIDE, XL_WIDTH = 128, 2048


def median_seconds(function, repeats):
    """Median seconds of a call that returns when its result is there, after two for warming up."""
    times = []
    for _ in range(2 + repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])
