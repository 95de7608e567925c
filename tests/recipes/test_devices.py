import types

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
