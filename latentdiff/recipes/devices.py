"""Devices that share each batch: all of one host, on the JAX backend."""

import contextlib

import keras


@contextlib.contextmanager
def shared_batches():
    """Within it each device takes its share of every batch, where there is more than one and Keras runs on JAX.

    Several hosts call `keras.distribution.initialize()` before.
    """
    before = keras.distribution.distribution()
    if before is None and keras.backend.backend() == "jax" and len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def num_devices():
    """How many devices share each batch."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.device_mesh.devices.size


def host_share():
    """(host, hosts): which of the hosts that share each batch this one is, and how many they are."""
    distribution = keras.distribution.distribution()
    return getattr(distribution, "_process_id", 0) or 0, getattr(distribution, "_num_processes", 1) or 1


def fitting_batch_size(batch_size, rows):
    """The largest batch size up to `batch_size` that there are rows for and that the devices share evenly.

    Args:
        batch_size: that of the experiment.
        rows: number of them in the data.

    Raises:
        ValueError: there is not even one row for each device.
    """
    devices = num_devices()
    if min(batch_size, rows) < devices:
        raise ValueError(
            f"A batch must have a row for each of {devices} devices. "
            f"Received: {rows} rows, a batch size of {batch_size}"
        )
    return min(batch_size, rows) // devices * devices
