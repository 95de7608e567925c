import json
import os
import subprocess
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import serving, serving_load


class Side:
    """Takes a second an image and step, and keeps the order of calls."""

    def __init__(self, name, calls):
        self.name = name
        self.calls = calls

    def seconds(self, batch, steps):
        self.calls.append((self.name, batch, steps))
        return float(batch * steps)


def test_sides_take_turns():
    calls = []
    times = serving.measure({"a": Side("a", calls), "b": Side("b", calls)}, [1, 4], steps=10, rounds=3)
    assert times == {(name, batch): [10.0 * batch] * 3 for name in ("a", "b") for batch in (1, 4)}
    assert calls[:4] == [("a", 1, 1), ("a", 4, 1), ("b", 1, 1), ("b", 4, 1)]
    assert [name for name, _, _ in calls[4:8]] == ["a", "b", "a", "b"] and len(calls) == 16


def test_table():
    lines = serving.table({("a", 1): 2.0, ("a", 4): 4.0}, [1, 4], steps=10).splitlines()
    assert lines[0].startswith("| 10 steps | s/image, batch 1 | images/s, batch 1 | s/image, batch 4 |")
    assert lines[2] == "| a | 2.000 | 0.50 | 1.000 | 1.00 |"


class Service:
    """A client whose server adds `noise` levels to every image after the first."""

    def __init__(self, noise=0):
        self.noise = noise
        self.requests = []

    def generate(self, **request):
        self.requests.append(request)
        level = 100 + (self.noise if len(self.requests) > 1 else 0)
        shape = (2, 2, 3) if isinstance(request["prompts"], str) else (len(request["prompts"]), 2, 2, 3)
        return np.full(shape, level, "uint8")


@pytest.mark.parametrize("noise, expected", [(2, 0), (3, 1)])
def test_load_notices_another_picture(noise, expected):
    load = serving_load.Load(Service(noise), seconds=0.05)
    load.run(seed=0)
    assert load.times and load.pictures >= len(load.times)
    assert bool(load.errors) == bool(expected)
    assert all("another image" in error for error in load.errors)


def test_load_counts_errors():
    service = Service()
    load = serving_load.Load(service, seconds=0.02)
    service.generate = lambda **request: 1 / 0
    load.run(seed=0)
    assert load.errors and not load.times
    report = serving_load.summary(load, [])
    assert (report["requests"], report["pictures"], report["canaries"]) == (0, 0, 0)
    assert report["errors"] == len(load.errors) and "p50" not in report
    assert report["first_errors"][0] == "ZeroDivisionError: division by zero"


def test_summary():
    load = serving_load.Load(Service(), seconds=0)
    load.times, load.pictures, load.canaries, load.malformed = [float(time) for time in range(100, 0, -1)], 250, 10, 4
    for _ in range(5):
        load.count_warning("text", UserWarning, "file", 1)
    report = serving_load.summary(load, [100.0 + sample for sample in range(20)])
    assert {name: report[name] for name in ("p50", "p90", "p99", "longest")} == {
        "p50": 51.0,
        "p90": 91.0,
        "p99": 100.0,
        "longest": 100.0,
    }
    counts = ("requests", "pictures", "errors", "canaries", "malformed_rows", "warnings")
    assert [report[name] for name in counts] == [100, 250, 0, 10, 4, 5]
    assert (report["memory_first_fifth"], report["memory_last_fifth"]) == (102, 118)
    assert report["memory_every_tenth"] == list(range(100, 120, 2))


def test_load_counts_canaries_and_malformed_rows():
    service = Service()
    load = serving_load.Load(service, seconds=0.1)
    load.run(seed=0)
    asked = service.requests[1:]
    assert load.canaries == asked.count(serving_load.CANARY) == len(asked) // 10 > 0
    bounded = [request for request in asked if "num_steps" in request and isinstance(request["num_steps"], list)]
    assert load.malformed == sum(map(serving_load.count_malformed, bounded)) > 0


@pytest.mark.parametrize("change", serving_load.ODD)
def test_malformed_rows(change):
    request = {"num_steps": [4, 20], "guidance_scale": [1.0, 7.5]}
    assert serving_load.count_malformed(request) == 0
    request[next(iter(change))][0] = next(iter(change.values()))
    assert serving_load.count_malformed(request) == 1


def test_memory_of_this_process():
    assert 10 < serving_load.memory(os.getpid()) < 100_000


def test_memory_of_a_process_that_ended():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert serving_load.memory(process.pid) is None
    process.wait()
    assert serving_load.memory(process.pid) is None


def test_a_server_that_ends_leaves_a_summary(monkeypatch, capsys):
    process = subprocess.Popen(["sleep", "60"])
    service = Service()

    def generate(**request):
        if len(service.requests) == 3 and process.poll() is None:
            process.kill()
            process.wait()
        return Service.generate(service, **request)

    monkeypatch.setattr(serving_load, "Client", lambda *arguments, **options: SimpleNamespace(generate=generate))
    monkeypatch.setattr(serving_load.warnings, "showwarning", serving_load.warnings.showwarning)
    arguments = ["--server", "here", "--seconds", "0.3", "--clients", "2", "--pid", str(process.pid)]
    monkeypatch.setattr("sys.argv", ["serving_load", *arguments])
    with warnings.catch_warnings():
        serving_load.main()
    assert json.loads(capsys.readouterr().out)["requests"] > 3
    with pytest.raises(SystemExit):
        serving_load.main()
    assert "--pid must be a running process" in capsys.readouterr().err


def test_requests_are_mixed():
    import random

    draws = random.Random(0)
    requests = [serving_load.make_request(draws) for _ in range(200)]
    assert {len(request["prompts"]) for request in requests} == {1, 2, 3, 4}
    steps = {value for request in requests for value in request["num_steps"]}
    assert {0, 1, 20} <= steps
