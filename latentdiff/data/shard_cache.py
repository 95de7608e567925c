"""A folder of shards, each of which appears at once when it is whole, written by any number of processes."""

import json

import filelock

from latentdiff.whole_files import draft_of, remove_litter, remove_whole, write_text

SHARD_ROWS = 2048
ABOUT = "cache.json"


class ShardCache:
    """Writes a folder of shards; another process may write other shards of it.

    Args:
        path: Path of the folder.
        num_rows: int, of all shards together.
        about: dict that JSON can hold: all that the content depends on.
    """

    def __init__(self, path, num_rows, about):
        self.path = path
        self.num_rows = num_rows
        self.about = {**about, "num_rows": num_rows, "shard_rows": SHARD_ROWS}

    def begin(self):
        """Keeps the shards that are there if they are of the same kind, and else removes them."""
        with filelock.FileLock(self.path.with_name(f".lock-{self.path.name}")):
            if self.path.exists() and read_about(self.path) != json.loads(json.dumps(self.about)):
                remove_whole(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            remove_litter(self.path)
            write_text(self.path / ABOUT, json.dumps(self.about, indent=1) + "\n")

    def missing(self, part=(0, 1)):
        """Numbers and rows, (shard, range of rows), of the shards that part `i` of `n` has to write yet."""
        rows, (index, parts) = range(self.num_rows), part
        shards = list(enumerate(rows[start : start + SHARD_ROWS] for start in rows[::SHARD_ROWS]))
        return [(shard, those) for shard, those in shards[index::parts] if not self._shard(shard).exists()]

    def writing(self, shard):
        """A context with the folder of a shard to write into."""
        return draft_of(self._shard(shard), replace=True)

    def _shard(self, shard):
        return self.path / f"{shard:05}"


def read_about(path):
    """What a cache depends on; None where a process was killed before it began, or the file is damaged."""
    try:
        return json.loads((path / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def shards_of(path, about):
    """The folders of all shards, and the names of those that are missing."""
    shards = [path / f"{shard:05}" for shard in range(-(-about["num_rows"] // about["shard_rows"]))]
    return shards, [shard.name for shard in shards if not shard.is_dir()]
