"""Latents on disk: in shards, resumed, shared by several jobs, and refused where they are stale or damaged."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from harness import normal
from killing import killed_at

from latentdiff.data import shard_cache
from latentdiff.data.latent_cache import LatentCache, cache_key, load_latents, save_latents
from latentdiff.data.sharded import ShardedArray

LATENTS = normal(0, 10, 2, 2, 3, 4)
RECORDS = [[{"caption": f"image {row}"}, {"caption": f"varied {row}"}] for row in range(10)]


def fake_autoencoder(weight=1.0):
    variables = [SimpleNamespace(value=np.full(3, value, "float32")) for value in (weight, 0.0, 1.0)]
    return SimpleNamespace(
        encoder=SimpleNamespace(variables=variables[:1]), latent_mean=variables[1], latent_std=variables[2]
    )


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shard_cache, "SHARD_ROWS", 4)


@pytest.fixture
def saved(tmp_path):
    save_latents(tmp_path, "train", fake_autoencoder(), (16, 24), LATENTS, RECORDS, std=np.abs(LATENTS))
    return tmp_path


def cache(folder, **about):
    return LatentCache(folder, "train", 10, {"key": cache_key(fake_autoencoder(), (16, 24)), **about})


def write(shards, folder, part=(0, 1)):
    begun = cache(folder)
    begun.begin()
    for shard, rows in begun.missing(part):
        if shard in shards:
            begun.write(shard, LATENTS[rows.start : rows.stop], None, RECORDS[rows.start : rows.stop])


def test_latents_come_back_with_their_records(saved):
    latents, records = load_latents(saved, "train", fake_autoencoder())
    assert sorted(path.name for path in (saved / "latents_train").iterdir()) == [
        "00000",
        "00001",
        "00002",
        "cache.json",
    ]
    assert latents.shape == LATENTS.shape and latents.dtype == "float32" and records == RECORDS
    assert [records[row] for row in (9, 3, 4, -10)] == [RECORDS[row] for row in (9, 3, 4, 0)]
    assert records[2:5] == RECORDS[2:5]
    rows, second = np.array([9, 0, 4, 4]), np.array([1, 0, 0, 1])
    for key in (rows, (rows, second), slice(3, 9), 5, (slice(None), 0), LATENTS[:, 0, 0, 0, 0] > 0, (7, 1)):
        np.testing.assert_array_equal(latents[key], LATENTS[key])
        np.testing.assert_array_equal(latents.deviations[key], np.abs(LATENTS[key]).astype("float16"))
    np.testing.assert_array_equal(np.asarray(latents), LATENTS)
    with pytest.raises(IndexError):
        records[10]


def test_only_what_is_indexed_is_read(saved):
    latents = load_latents(saved, "train", fake_autoencoder())[0]
    assert isinstance(latents, ShardedArray) and all(isinstance(array, np.memmap) for array in latents.arrays)


# === Jobs that share the work, and jobs that are killed ===


def test_jobs_share_the_shards(tmp_path):
    assert [shard for part in range(2) for shard, _ in cache(tmp_path).missing((part, 2))] == [0, 2, 1]
    write({0, 1, 2}, tmp_path, (0, 2))
    with pytest.raises(ValueError, match="must have all 3 shards: .*--shard. Received: 1 missing, such as 00001"):
        load_latents(tmp_path, "train", fake_autoencoder())
    write({0, 1, 2}, tmp_path, (1, 2))
    np.testing.assert_array_equal(load_latents(tmp_path, "train", fake_autoencoder())[0][:], LATENTS)


def test_what_is_written_is_kept(tmp_path):
    write({0, 2}, tmp_path)
    before = (tmp_path / "latents_train/00002/latents.npy").stat().st_ino
    assert [shard for shard, _ in cache(tmp_path).missing()] == [1]
    write({1}, tmp_path)
    assert (tmp_path / "latents_train/00002/latents.npy").stat().st_ino == before
    assert load_latents(tmp_path, "train", fake_autoencoder())[1] == RECORDS


def test_what_was_written_for_something_else_is_not(tmp_path):
    write({0, 1, 2}, tmp_path)
    other = cache(tmp_path, data="other images")
    other.begin()
    assert len(other.missing()) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_job_that_is_killed_goes_on(tmp_path):
    """At any thing that it does to a file."""
    count = 0
    while killed_at(count := count + 1, tmp_path, lambda: write({0, 1, 2}, tmp_path)):
        pass
    assert count > 2
    np.testing.assert_array_equal(load_latents(tmp_path, "train", fake_autoencoder())[0][:], LATENTS)


# === Errors ===


def test_none_are_there(tmp_path):
    with pytest.raises(ValueError, match="latents_train: run `latentdiff train latents` first"):
        load_latents(tmp_path, "train", fake_autoencoder())
    np.save(tmp_path / "latents_train.npy", LATENTS)
    with pytest.raises(ValueError, match="latents_train.npy is of an earlier version: run `latentdiff train latents`"):
        load_latents(tmp_path, "train", fake_autoencoder())


def test_a_stale_cache_is_refused_with_both_keys(saved):
    keys = [cache_key(fake_autoencoder(weight), (16, 24)) for weight in (1.0, 2.0)]
    assert keys[0].endswith("-float32-16x24") and keys[0] != keys[1]
    with pytest.raises(ValueError, match=f"another autoencoder: .* Received: key {keys[0]}, expected {keys[1]}"):
        load_latents(saved, "train", fake_autoencoder(2.0))
    with pytest.raises(ValueError, match=f"of other images: .* Received: key {keys[0]}, expected .*-float32-8x8"):
        load_latents(saved, "train", fake_autoencoder(), (8, 8))


@pytest.mark.parametrize("name", ["00001/latents.npy", "00001/records.jsonl", "00001/ends.npy", "cache.json"])
def test_a_damaged_cache_is_named(saved, name):
    path = saved / "latents_train" / name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="latents_train.* is damaged: remove it, and run `latentdiff train latents`"):
        load_latents(saved, "train", fake_autoencoder())


def test_rows_and_records_belong_together(saved):
    np.save(saved / "latents_train/00001/ends.npy", np.zeros(3, "int64"))
    with pytest.raises(ValueError, match="is damaged.*Received: 10 rows, 9 records"):
        load_latents(saved, "train", fake_autoencoder())


def test_records_are_json(saved):
    for line in (saved / "latents_train/00000/records.jsonl").read_text().splitlines():
        assert json.loads(line) in RECORDS
