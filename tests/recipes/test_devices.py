import importlib.util
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from latentdiff.recipes.devices import fitting_batch_size


@pytest.mark.parametrize(
    "devices, batch_size, rows, size", [(1, 32, 21, 21), (8, 32, 100, 32), (8, 32, 21, 16), (3, 8, 8, 6)]
)
def test_batches_are_shared_evenly_by_the_devices(devices, batch_size, rows, size, monkeypatch):
    share_batches(monkeypatch, devices)
    assert fitting_batch_size(batch_size, rows) == size


@pytest.mark.parametrize("batch_size, rows", [(32, 7), (7, 100)])
def test_a_batch_has_a_row_for_each_device(batch_size, rows, monkeypatch):
    share_batches(monkeypatch, 8)
    with pytest.raises(ValueError, match=f"each of 8 devices. Received: {rows} rows, a batch size of {batch_size}"):
        fitting_batch_size(batch_size, rows)


def share_batches(monkeypatch, devices):
    """As `shared_batches` does under JAX where there is more than one device."""
    mesh = types.SimpleNamespace(devices=np.arange(devices))
    distribution = types.SimpleNamespace(device_mesh=mesh) if devices > 1 else None
    monkeypatch.setattr("keras.distribution.distribution", lambda: distribution)


HOST = """
import sys
import keras
host, hosts, port = map(int, sys.argv[1:])
if hosts > 1:
    keras.distribution.initialize(f"127.0.0.1:{port}", hosts, host)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
from harness import normal
from test_backup import make
from latentdiff.data.batches import Batches
from latentdiff.recipes.devices import fitting_batch_size, host_share, shared_batches
with shared_batches():
    model, data = make(dropout=0.0), {"x": normal(1, 16, 4)}
    batches = Batches(data, fitting_batch_size(4, 16), share=host_share())
    history = model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[batches.epoch_callback()]).history
    print(host_share(), *history["loss"])
"""


def run_hosts(hosts):
    """The losses that each of several JAX processes on this machine reports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = [Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2]]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "XLA_FLAGS": ""}
    commands = [[sys.executable, "-c", HOST, str(host), str(hosts), str(port)] for host in range(hosts)]
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **options) for command in commands]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    told = [text.splitlines()[-1] for text, _ in outputs]
    assert all(line.startswith(f"({host}, {hosts})") for host, line in enumerate(told))
    return [list(map(float, line.split(")")[1].split())) for line in told]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_two_hosts_train_as_one():
    """Each host gets its part of every batch."""
    (one,) = run_hosts(1)
    for losses in run_hosts(2):
        np.testing.assert_allclose(losses, one, rtol=1e-5)
