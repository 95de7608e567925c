"""Large images in tiles: a function of feature maps works on one tile at a time, which bounds its memory."""

import math

import numpy as np
from keras import ops

OVERLAP = 0.25  # least share of a tile that it has in common with its neighbour


def in_tiles(function, tile, before=1, after=1, each=None):
    """`function`, applied to overlapping tiles one after the other, and the results joined.

    In an overlap one result fades into the other, linearly. The result is near that of the whole map, not equal to it:
    group normalization and attention see a tile alone, and convolutions see zeros at its edge.

    Args:
        function: (batch, height, width, channels) -> float (batch, height', width', channels').
        tile: side of a tile in positions.
        before, after: rows, and columns, of the inputs and of the outputs in a position.
        each: optional (function, list of tiles) -> list of results; default: a loop in Python.

    Returns:
        a function of maps of any size; one that is no larger than a tile is taken whole.
    """

    def call(values):
        tiles = Tiles([side // before for side in values.shape[1:3]], tile)
        parts = tiles.split(values, before)
        if len(parts) == 1:
            return function(values)
        return tiles.join([function(part) for part in parts] if each is None else each(function, parts), after)

    return call


class Tiles:
    """How a map is cut into tiles.

    Args:
        size: (height, width) of the map, in positions.
        tile: side of a tile; a shorter side of the map is not cut.
    """

    def __init__(self, size, tile):
        self.size = tuple(size)
        self.tile = tuple(min(tile, side) for side in size)
        self.starts = tuple(map(_starts, self.size, self.tile))

    def split(self, values, scale=1):
        """The tiles of `values` (batch, scale * height, scale * width, channels), row by row, in a list."""
        rows, columns = (scale * side for side in self.tile)
        tops, lefts = ([scale * start for start in starts] for starts in self.starts)
        return [values[:, top : top + rows, left : left + columns] for top in tops for left in lefts]

    def join(self, parts, scale=1):
        """The inverse of `split`, float32."""
        parts, columns = iter(parts), len(self.starts[1])
        rows = [
            _join([next(parts) for _ in range(columns)], self.starts[1], self.size[1], scale, axis=2)
            for _ in self.starts[0]
        ]
        return _join(rows, self.starts[0], self.size[0], scale, axis=1)


def _starts(length, tile):
    """Where tiles begin: as few as overlap enough, evenly spread."""
    step = tile - max(1, round(OVERLAP * tile)) if tile < length else tile
    count = 1 + math.ceil((length - tile) / step)
    return [round(place) for place in np.linspace(0, length - tile, count)]


def _join(parts, starts, length, scale, axis):
    """Parts side by side along an axis; a part counts less towards its edges."""
    side = parts[0].shape[axis]
    ramp = np.minimum(np.arange(side) + 1.0, side - np.arange(side))
    weights = np.zeros((len(parts), length * scale))
    for row, start in zip(weights, starts, strict=True):
        row[start * scale : start * scale + side] = ramp
    weights /= weights.sum(axis=0)
    total = 0.0
    for part, row, start in zip(parts, weights.astype("float32"), starts, strict=True):
        begin, end = start * scale, start * scale + side
        shape = [side if place == axis else 1 for place in range(4)]
        padding = [(begin, length * scale - end) if place == axis else (0, 0) for place in range(4)]
        total = total + ops.pad(part * row[begin:end].reshape(shape), padding)
    return total
