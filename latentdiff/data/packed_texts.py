"""Many short texts in two arrays, for what a set of a million images has one of for each."""

from array import array

from latentdiff.data.mapped import mapped


class PackedTexts:
    """A list of strings that takes few bytes beside their own. Lone surrogates are kept.

    Args:
        texts: strings, in any iterable.
    """

    def __init__(self, texts=()):
        content, ends = bytearray(), array("q", [0])
        for text in texts:
            content += text.encode("utf-8", "surrogateescape")
            ends.append(len(content))
        self._content, self._ends = mapped(content, "uint8"), mapped(ends, "int64")

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be below {len(self)}. Received: {index=}")
        index %= len(self)
        content = self._content[int(self._ends[index]) : int(self._ends[index + 1])]
        return content.tobytes().decode("utf-8", "surrogateescape")
