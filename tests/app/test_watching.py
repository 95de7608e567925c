import threading

import numpy as np
import pytest

from latentdiff.app.watching import Stopped, watched

IMAGE = np.zeros((8, 8, 3), "uint8")


def result_of(steps):
    """What a generator yields, and what it returns."""
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return seen, end.value


def work(callback):
    for step in (1, 2, 3):
        callback(step, 3, lambda: IMAGE)
    return "done"


def test_steps_and_result(monkeypatch):
    monkeypatch.setattr("latentdiff.app.watching.PAUSE", 0.0)
    seen, result = result_of(watched(work, threading.Event()))
    assert result == "done" and [step[:2] for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [None if images is None else images.shape for *_, images in seen] == [(1, 8, 8, 3), (1, 8, 8, 3), None]


def test_previews_are_rare():
    seen, _ = result_of(watched(work, threading.Event()))
    assert [images is None for *_, images in seen] == [False, True, True]


def test_errors_come_through():
    def fail(callback):
        callback(1, 2, lambda: IMAGE)
        raise ValueError("wrong")

    steps = watched(fail, threading.Event())
    assert next(steps)[0] == 1
    with pytest.raises(ValueError, match="wrong"):
        next(steps)


def test_stop():
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        next(watched(work, stop))


def test_closing_ends_the_thread():
    reached = []

    def endless(callback):
        while True:
            reached.append(len(reached))
            callback(1, 2, lambda: IMAGE)

    before = threading.active_count()
    steps = watched(endless, threading.Event())
    next(steps)
    steps.close()
    assert threading.active_count() == before
    count = len(reached)
    assert count == len(reached) > 0
