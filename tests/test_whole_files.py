"""Folders that are put in place whole, and in whose place the old one stays until then."""

import pathlib

import pytest

from latentdiff.whole_files import draft_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    return tmp_path / "out"


def write(folder, **options):
    with draft_of(folder, **options) as draft:
        (draft / "new.txt").write_text("new")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_new(tmp_path):
    write(tmp_path / "some" / "where")
    assert names(tmp_path) == ["some/where/new.txt"]


def test_replaced(folder, tmp_path):
    write(folder, replace=True)
    assert names(tmp_path) == ["out/new.txt"] and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_kept_unless_asked(folder, tmp_path):
    with pytest.raises(OSError):
        write(folder)
    assert names(tmp_path) == ["out/old.txt"]


def test_kept_when_the_work_fails(folder, tmp_path):
    with pytest.raises(RuntimeError), draft_of(folder, replace=True) as draft:
        (draft / "new.txt").write_text("half")
        raise RuntimeError
    assert names(tmp_path) == ["out/old.txt"]


def test_put_back_when_the_new_one_cannot_take_its_place(folder, tmp_path, monkeypatch):
    real, seen = pathlib.Path.rename, []

    def rename(path, target):
        if path.name.startswith(".draft-"):
            seen.extend(name for name in names(tmp_path) if name.endswith("old.txt"))
            raise OSError("no room")
        return real(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", rename)
    with pytest.raises(OSError, match="no room"):
        write(folder, replace=True)
    assert len(seen) == 1 and seen[0].startswith(".replaced-")  # it was whole, aside
    assert names(tmp_path) == ["out/old.txt"]
