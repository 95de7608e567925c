import time

import keras
import numpy as np
import pytest

from latentdiff.data.batches import Batches, random_flip


def rows_of(batches):
    return [batches[index]["row"].tolist() for index in range(len(batches))]


def test_order_follows_seed_and_epoch():
    arrays = {"row": np.arange(10), "twice": 2 * np.arange(10)}
    batches = Batches(arrays, 3, seed=1)
    first = rows_of(batches)
    assert len(first) == 3 and len(set(np.concatenate(first).tolist())) == 9
    np.testing.assert_array_equal(batches[0]["twice"], 2 * batches[0]["row"])
    batches.set_epoch(1)
    second = rows_of(batches)
    batches.set_epoch(0)
    assert rows_of(batches) == first != second
    assert rows_of(Batches(arrays, 3, seed=2)) != first
    assert rows_of(Batches(arrays, 3, shuffle=False, drop_remainder=False)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    with pytest.raises(IndexError, match="Received: index=3"):
        batches[3]


def test_transform_draws_follow_epoch_and_index():
    def draw(batch, rng):
        return {**batch, "draw": rng.random(2)}

    batches = Batches({"row": np.arange(8)}, 4, transform=draw)
    draws = [batches[0]["draw"], batches[1]["draw"]]
    np.testing.assert_array_equal(batches[0]["draw"], draws[0])
    batches.set_epoch(1)
    draws.append(batches[0]["draw"])
    assert len(set(np.concatenate(draws).tolist())) == 6


@pytest.mark.parametrize(
    "arrays, size", [({}, 1), ({"a": np.zeros(3), "b": np.zeros(4)}, 1), ({"a": ["x"]}, 1), ({"a": []}, 1)]
)
def test_bad_arrays(arrays, size):
    with pytest.raises(ValueError, match="`arrays`"):
        Batches(arrays, size)


@pytest.mark.parametrize("size", [0, 4, 1.5])
def test_bad_batch_size(size):
    with pytest.raises(ValueError, match=f"`batch_size` must be an integer from 1 to 3. Received: batch_size={size}"):
        Batches({"a": np.zeros(3)}, size)


def test_random_flip():
    images = np.random.default_rng(0).random((64, 4, 4, 3))
    flipped = random_flip({"images": images, "row": 1}, np.random.default_rng(0))
    same = (flipped["images"] == images).all(axis=(1, 2, 3))
    mirrored = (flipped["images"] == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all() and 16 < same.sum() < 48 and flipped["row"] == 1
    with pytest.raises(ValueError, match="`batch`"):
        random_flip({}, np.random.default_rng(0))


def test_batches_are_quick(tmp_path):
    path = tmp_path / "latents.npy"
    np.save(path, np.zeros((2048, 16, 16, 8), "float32"))
    batches = Batches({"latents": np.load(path, mmap_mode="r")}, 256)
    times = []
    for index in list(range(len(batches))) * 4:
        start = time.perf_counter()
        batch = batches[index]
        times.append(time.perf_counter() - start)
    assert type(batch["latents"]) is np.ndarray
    assert min(times) < 2e-3  # 0.2 ms on a free core; the best of many, since a busy neighbour only adds


class Recorder(keras.Model):
    """Learns nothing and remembers the rows that it was given."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(), name="scale", initializer="ones")
        self.seen = []
        self.built = True

    def call(self, batch):
        return keras.ops.cast(batch["row"], "float32") * self.scale

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self.run_eagerly:
            self.seen.append(keras.ops.convert_to_numpy(x["row"]).tolist())
        return keras.ops.mean(y_pred)


def fit_rows(batches, epochs, initial_epoch=0, callbacks=(), **kwargs):
    model = Recorder()
    model.compile("sgd", run_eagerly=True)
    model.fit(batches, epochs=epochs, initial_epoch=initial_epoch, verbose=0, callbacks=list(callbacks), **kwargs)
    return model.seen


def test_resumed_fit_sees_the_same_order():
    batches = Batches({"row": np.arange(64)}, 16)
    whole = fit_rows(batches, 3, callbacks=[batches.epoch_callback()], shuffle=False)[-12:]
    batches = Batches({"row": np.arange(64)}, 16)
    resumed = fit_rows(batches, 3, 2, callbacks=[batches.epoch_callback()], shuffle=False)[-4:]
    assert whole[8:] == resumed
    assert sorted(sum(whole[:4], [])) == list(range(64)) and whole[:4] != whole[4:8]


def test_fit_trains_on_dicts_of_arrays():
    model = Recorder()
    model.compile("sgd", jit_compile=False)
    batches = Batches({"row": np.arange(64)}, 16, workers=2)
    model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=[batches.epoch_callback()])
    assert float(model.scale) < 1


def test_shuffling_by_fit_is_reported(recwarn):
    batches = Batches({"row": np.arange(256)}, 4)
    for shuffle in (False, True):
        recwarn.clear()
        fit_rows(batches, 1, callbacks=[batches.epoch_callback()], shuffle=shuffle)
        assert any("shuffle=False" in str(warning.message) for warning in recwarn) == shuffle


# === Reading ahead, hosts, parts of epochs ===


def test_hosts_share_each_batch():
    arrays = {"row": np.arange(20)}
    whole = rows_of(Batches(arrays, 6, seed=1))
    shares = [rows_of(Batches(arrays, 6, seed=1, share=(host, 2))) for host in range(2)]
    assert [first + second for first, second in zip(*shares, strict=True)] == whole
    draws = [Batches(arrays, 6, share=(host, 2), transform=lambda _, rng: {"x": rng.random()})[0] for host in (0, 1)]
    assert draws[0] != draws[1]


def test_an_epoch_goes_on_within():
    batches = Batches({"row": np.arange(10)}, 3)
    batches.set_epoch(2)
    whole = rows_of(batches)
    batches.set_epoch(2, 1)
    assert len(batches) == 2 and rows_of(batches) == whole[1:]


@pytest.mark.parametrize("processes", [0, 1])
def test_batches_that_are_read_ahead_are_the_same(processes):
    arrays = {"row": np.arange(10), "images": np.random.default_rng(0).random((10, 2, 2, 3))}
    plain = Batches(arrays, 3, transform=random_flip)
    ahead = Batches(arrays, 3, transform=random_flip, processes=processes)
    try:
        for epoch, start in ((0, 0), (1, 0), (4, 1)):
            for batches in (plain, ahead):
                batches.set_epoch(epoch, start)
            for index in range(len(plain)):
                for name, values in plain[index].items():
                    np.testing.assert_array_equal(ahead[index][name], values)
    finally:
        ahead.close()
