"""Parquet shards of captioned images, read by row groups."""

import collections
import threading

import numpy as np

from latentdiff.data.rows import TRAIN, Source, make_row

BYTES_AT_ONCE = 2**27  # of row groups in memory, in each process


class ParquetShards(Source):
    """The rows of parquet files with the columns `image` (bytes, or a struct with `bytes`) and `caption` (or `text`).

    Row groups are read as a whole, and the last of them are kept, about 128 MiB.

    Args:
        shards: paths.
    """

    def __init__(self, shards):
        self.shards = list(shards)
        self.groups = []  # (shard, row group in it, first row in it) of each block
        counts, sizes = [], []
        for number, shard in enumerate(self.shards):
            with _opened(shard) as file:
                _check_columns(file.schema_arrow.names, shard)
                groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
            rows = np.array([group.num_rows for group in groups], "int64")
            self.groups += zip([number] * len(rows), range(len(rows)), np.cumsum(rows) - rows, strict=True)
            counts.extend(rows)
            sizes.extend(group.total_byte_size for group in groups)
        self.starts = np.cumsum([0, *counts])
        self.blocks = np.repeat(np.arange(len(counts), dtype="int32"), counts)
        self.blocks_at_once = max(1, BYTES_AT_ONCE // max([1, *sizes]))
        self.__setstate__({})

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name not in ("_tables", "_lock")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._tables, self._lock = collections.OrderedDict(), threading.Lock()

    def __len__(self):
        return len(self.blocks)

    def __getitem__(self, index):
        block = int(self.blocks[index])
        shard, _, first = self.groups[block]
        row = index - self.starts[block]
        name = f"{self.shards[shard]}, row {first + row}"
        (record,) = self._table(block).slice(row, 1).to_pylist()
        image = record.pop("image")
        image = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(image, bytes):
            raise ValueError(f"`image` must hold bytes. Received: {type(image).__name__} in {name}")
        return make_row(name, image, record)

    def splits(self):
        return np.concatenate([_read_splits(shard) for shard in self.shards])

    def _table(self, block):
        with self._lock:
            if block not in self._tables:
                shard, group, _ = self.groups[block]
                with _opened(self.shards[shard]) as file:
                    self._tables[block] = file.read_row_group(group)
                self._forget()
            self._tables.move_to_end(block)
            return self._tables[block]

    def _forget(self):
        """Drops what was not used for longest, where there is more than a window and what follows it take."""
        while len(self._tables) > max(2, self.blocks_at_once + 1) or len(self._tables) > 2 and self._is_full():
            self._tables.popitem(last=False)

    def _is_full(self):
        return sum(table.nbytes for table in self._tables.values()) > 2 * BYTES_AT_ONCE


class _opened:
    """A context with a `pyarrow.parquet.ParquetFile`; a damaged file is a ValueError that names it."""

    def __init__(self, shard):
        self.shard = shard

    def __enter__(self):
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ValueError("`source` of parquet shards needs pyarrow: pip install latentdiff[train]") from error
        self.errors = (pyarrow.ArrowException, OSError)
        try:
            self.file = parquet.ParquetFile(self.shard)
        except self.errors as error:
            raise self._refused(error) from error
        return self.file

    def __exit__(self, kind, error, traceback):
        self.file.close()
        if isinstance(error, self.errors):
            raise self._refused(error) from error

    def _refused(self, error):
        return ValueError(f"`source` must hold readable parquet shards. Received: {self.shard} ({error})")


def _check_columns(columns, shard):
    if "image" not in columns or not {"caption", "text"} & set(columns):
        raise ValueError(f"`source` needs columns `image` and `caption`. Received: {shard} with {columns}")


def _read_splits(shard):
    with _opened(shard) as file:
        if "split" not in file.schema_arrow.names:
            return np.full(file.metadata.num_rows, TRAIN)
        return np.array(file.read(columns=["split"])["split"].to_pylist(), dtype=str)
