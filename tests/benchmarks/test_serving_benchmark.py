from benchmarks import serving


class Side:
    """Takes a second an image and step, and keeps the order of calls."""

    def __init__(self, name, calls):
        self.name = name
        self.calls = calls

    def seconds(self, batch, steps):
        self.calls.append((self.name, batch, steps))
        return float(batch * steps)


def test_sides_take_turns():
    calls = []
    times = serving.measure({"a": Side("a", calls), "b": Side("b", calls)}, [1, 4], steps=10, rounds=3)
    assert times == {(name, batch): [10.0 * batch] * 3 for name in ("a", "b") for batch in (1, 4)}
    assert calls[:4] == [("a", 1, 1), ("a", 4, 1), ("b", 1, 1), ("b", 4, 1)]
    assert [name for name, _, _ in calls[4:8]] == ["a", "b", "a", "b"] and len(calls) == 16


def test_table():
    lines = serving.table({("a", 1): 2.0, ("a", 4): 4.0}, [1, 4], steps=10).splitlines()
    assert lines[0].startswith("| 10 steps | s/image, batch 1 | images/s, batch 1 | s/image, batch 4 |")
    assert lines[2] == "| a | 2.000 | 0.50 | 1.000 | 1.00 |"
