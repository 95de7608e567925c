"""Many short texts in two arrays, for what a set of a million images has one of for each."""

from array import array


class PackedTexts:
    """A list of strings that takes few bytes beside their own, and is pickled at once. Lone surrogates are kept."""

    def __init__(self, texts=()):
        self._bytes, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text):
        self._bytes += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._bytes))

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be below {len(self)}. Received: {index=}")
        index %= len(self)
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")
