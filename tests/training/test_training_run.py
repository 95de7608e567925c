import pytest

from training.training_run import optimizer


@pytest.mark.parametrize("steps", [1, 2, 40, 20_000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(steps):
    rate = optimizer(1e-3, steps, ema=0.9)._learning_rate
    warmup = min(500, steps // 10 + 1)
    assert float(rate(0)) == 0.0
    assert float(rate(warmup)) == pytest.approx(1e-3)
    assert float(rate(max(steps, warmup + 1))) == pytest.approx(0.0, abs=1e-9)
