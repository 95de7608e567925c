import types

import pytest

from training.training_run import TimeLimit, optimizer


@pytest.mark.parametrize("steps", [1, 2, 40, 20_000])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(steps):
    rate = optimizer(1e-3, steps, ema=0.9)._learning_rate
    warmup = min(500, steps // 10 + 1)
    assert float(rate(0)) == 0.0
    assert float(rate(warmup)) == pytest.approx(1e-3)
    assert float(rate(max(steps, warmup + 1))) == pytest.approx(0.0, abs=1e-9)


def test_a_clock_ends_training(monkeypatch):
    now = iter([0.0, 30.0, 59.0, 60.0])
    monkeypatch.setattr("training.training_run.time.monotonic", lambda: next(now))
    limit = TimeLimit(minutes=1)
    limit.set_model(types.SimpleNamespace(stop_training=False))
    ended = []
    for step in range(3):
        limit.on_train_batch_end(step)
        ended.append(limit.model.stop_training)
    assert ended == [False, False, True]
