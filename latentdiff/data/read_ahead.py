"""Batches that worker processes make in advance, by grain."""

import collections

import numpy as np

AHEAD = 2  # batches that each worker has ready
THREADS = 4  # where there are no worker processes


class ReadAhead:
    """The batches of a `BatchReader` in the order of their places, made by worker processes while others are used.

    Batches that are asked for in another order are made, too, but the workers then start anew.

    Args:
        reader: `BatchReader` that can be pickled.
        workers: number of processes; 0 for threads of this process.
    """

    def __init__(self, reader, workers):
        self.reader, self.workers = reader, workers
        self._batches, self._next = None, None
        self._last = collections.deque(maxlen=2)  # Keras looks at the first two batches before it trains

    def __getitem__(self, position):
        for place, batch in self._last:
            if place == position:
                return batch
        if self._batches is None or position != self._next:
            self.close()
            self._batches = self._start(position)
        # Copies, since the memory that the workers share with this process is theirs.
        batch = {name: np.array(array) for name, array in next(self._batches).items()}
        self._next = position + 1
        self._last.append((position, batch))
        return batch

    def close(self):
        """Ends the workers. The next batch starts them again."""
        if self._batches is not None:
            self._batches.close()
        self._batches = None
        self._last.clear()

    def _start(self, position):
        try:
            import grain
            from absl import flags
        except ImportError as error:
            raise ValueError("Images that do not fit into memory need grain: pip install latentdiff[train]") from error
        if not flags.FLAGS.is_parsed():  # grain reads flags of its own, whose defaults will do
            flags.FLAGS.mark_as_parsed()
        reader, whole = self.reader, 2**40  # batches of all epochs that anybody trains
        batches = grain.MapDataset.range(position, whole).map(reader.at)
        threads = 1 if self.workers else THREADS
        batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=THREADS))
        options = grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=AHEAD)
        return iter(batches.mp_prefetch(options) if self.workers else batches)
