import json
import os
import random
import socket
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import load_requests, serving_load
from benchmarks.load_requests import Sender, WrongAnswer, make_rows
from benchmarks.served_process import ServedProcess

ROWS = make_rows(random.Random(0), 5)


class Service:
    """A client whose server gives each row a level of its own, plus `noise` after the images asked for alone."""

    def __init__(self, noise=0, swapped=False, error=None):
        self.noise, self.swapped, self.error = noise, swapped, error
        self.requests = []

    def _batch(self, rows):
        if self.error is not None:
            raise self.error
        self.requests.append(rows)
        levels = [seed % 200 + self.noise * (len(self.requests) > len(ROWS)) for seed in rows["seeds"]]
        if self.swapped and len(levels) > 1:
            levels = levels[1:] + levels[:1]
        return [np.full((2, 2, 3), level, "uint8") for level in levels]

    def _ask(self, rows):
        self.requests.append(rows)
        raise ValueError("sizes differ")


def sender(impatient=None, server="here:1", **options):
    return Sender(Service(**options), impatient, ROWS, server)


# === Requests ===


def test_rows_are_as_a_served_model_takes_them():
    assert len({row["seeds"] for row in ROWS}) == len(ROWS)
    assert all(set(row) == set(ROWS[0]) >= {"prompts", "seeds", "num_steps", "guidance_scale"} for row in ROWS)


@pytest.mark.parametrize("options, is_wrong", [({"noise": 2}, False), ({"noise": 3}, True), ({"swapped": True}, True)])
@pytest.mark.parametrize("kind", ["valid", "malformed", "huge"])
def test_each_row_must_get_its_own_image(kind, options, is_wrong):
    sending, draws, wrong = sender(**options), random.Random(0), 0
    for _ in range(10):
        try:
            sending.send(kind, draws)
        except WrongAnswer:
            wrong += 1
    assert bool(wrong) == is_wrong


@pytest.mark.parametrize("kind", ["malformed", "huge"])
def test_the_first_row_is_one_that_the_server_must_bound(kind):
    sending = sender()
    assert sending.send(kind, random.Random(0)) == len(sending.client.requests[-1]["seeds"])
    rows = sending.client.requests[-1]
    if kind == "huge":
        assert len(rows["prompts"][0]) == 1_000_000
    else:
        assert any(rows[name][0] is value for odd in load_requests.ODD for name, value in odd.items())


def test_a_request_that_is_given_up():
    assert sender(impatient=Service(error=TimeoutError())).send("cancelled", random.Random(0)) == 0
    assert sender(impatient=Service()).send("cancelled", random.Random(0)) > 0


def test_an_invalid_request_must_be_refused(monkeypatch):
    sending = sender()
    assert sending.send("invalid", random.Random(0)) == 0
    rows = sending.client.requests[-1]
    assert len(rows["num_steps"]) == len(rows["seeds"]) + 1
    monkeypatch.setattr(sending.client, "_ask", lambda rows: {})
    with pytest.raises(WrongAnswer):
        sending.send("invalid", random.Random(0))


def test_slow_clients_send_no_whole_request(monkeypatch):
    monkeypatch.setattr(load_requests, "SLOW", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sending = sender(server=f"127.0.0.1:{listener.getsockname()[1]}")
        assert sending.send("slow", random.Random(0)) == 0
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == load_requests.PREFACE and connection.recv(100) == b""
    assert len(sending.client.requests) == len(ROWS)
    with pytest.raises(ConnectionError):
        sending.send("slow", random.Random(0))


# === Load ===


@pytest.mark.parametrize(
    "error, outcome, told", [(ConnectionError(), "no server", 0), (OSError("disk"), "error", 1), (None, "as it", 0)]
)
def test_outcomes_are_counted_by_kind(monkeypatch, error, outcome, told):
    sending = sender(impatient=Service())
    sending.client.error = error
    monkeypatch.setattr(sending, "_slow", lambda places, draws: 0)
    load = serving_load.Load(sending, seconds=0.05)
    load.run(seed=0)
    valid = [name for name in load.outcomes if name.startswith("valid: ")]
    assert valid and all(name.startswith(f"valid: {outcome}") for name in valid)
    assert bool(load.errors) == bool(told) and bool(load.times) == (error is None)
    assert all("OSError: disk" in text for text in load.errors)


def test_summary():
    load = serving_load.Load(None, seconds=0)
    load.times, load.images = [float(time) for time in range(100, 0, -1)], 250
    load.outcomes.update({"valid: as it should be": 100, "huge: error": 2})
    load.errors = ["huge: OSError: full"] * 4
    for _ in range(5):
        load.count_warning("text", UserWarning, "file", 1)
    report = serving_load.summary(load, [(7, 100.0 + sample) for sample in range(20)] + [(8, 90.0)])
    assert [report[name] for name in ("p50", "p90", "p99", "longest")] == [51.0, 91.0, 100.0, 100.0]
    assert [report[name] for name in ("requests", "images", "warnings")] == [102, 250, 5]
    assert report["outcomes"] == {"huge: error": 2, "valid: as it should be": 100}
    assert report["first_errors"] == ["huge: OSError: full"] * 3
    first, second = report["memory"]
    assert first == {"first_fifth": 102, "last_fifth": 118, "every_tenth": list(range(100, 120, 2))}
    assert second == {"first_fifth": 90, "last_fifth": 90, "every_tenth": [90]}


def test_memory_of_this_process():
    assert 10 < serving_load.memory(os.getpid()) < 100_000


def test_memory_of_a_process_that_ended():
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert serving_load.memory(process.pid) is None
    process.wait()
    assert serving_load.memory(process.pid) is None


def test_a_server_command_needs_its_folder(capsys):
    with pytest.raises(SystemExit):
        serving_load.parse(["--server", "here:1", "--", "serve"])
    assert "--base" in capsys.readouterr().err


def test_the_whole_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Sender, "_slow", lambda self, places, draws: 0)
    (tmp_path / "1").mkdir()
    monkeypatch.setattr(serving_load, "Client", lambda *arguments, **options: Service())
    monkeypatch.setattr(serving_load.warnings, "showwarning", serving_load.warnings.showwarning)
    options = ["--server", "here:1", "--seconds", "0.4", "--clients", "2", "--rows", "5", "--base", str(tmp_path)]
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr("sys.argv", ["load", *options, "--swap-every", "0.1", "--kill-every", "0.15", "--", *command])
    serving_load.main()
    report = json.loads(capsys.readouterr().out)
    assert report["images"] > 0 and report["first_errors"] == []
    assert report["swaps"] > 0 and report["kills"] > 0 and len(report["memory"]) > 1


# === The server's process ===


def test_versions_and_kills(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "saved_model.pb").write_text("graph")
    server = ServedProcess(["sleep", "60"], tmp_path)
    try:
        for _ in range(2):
            server.swap()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["8", "9"]
        assert (tmp_path / "9" / "saved_model.pb").read_text() == "graph"
        first = server.process
        server.kill()
        assert first.returncode == -9 and server.process.poll() is None and server.pid != first.pid
    finally:
        server.stop()
    assert server.process.returncode == -9
