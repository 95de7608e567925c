"""Files and folders that are put in place whole, and in whose place the old one stays until then."""

import os
import pathlib
import stat
import sys

import pytest
from killing import killed_at

from latentdiff import whole_files
from latentdiff.whole_files import draft_of, remove_litter, replaced, write_bytes, write_text


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


# === Files ===


@pytest.mark.parametrize("write_file, content", [(write_bytes, b"a\r\nb"), (write_text, "\u00e9\n")])
def test_a_file_is_written_and_replaced(write_file, content, tmp_path):
    path = tmp_path / "file.txt"
    for _ in range(2):
        write_file(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert names(tmp_path) == ["file.txt"]


def test_a_file_stays_as_it_was_when_the_work_fails(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replaced(path) as draft:
        draft.write_text("half")
        assert path.read_text() == "old" and draft.suffix == ".txt"
        raise RuntimeError
    assert names(tmp_path) == ["file.txt"] and path.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions, and links for administrators only")
def test_a_replaced_file_keeps_its_permissions_and_its_links(tmp_path):
    path, link = tmp_path / "file.txt", tmp_path / "link.txt"
    write_text(path, "old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_text(link, "new")
    assert link.is_symlink() and path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file")
def test_what_is_no_regular_file_is_written_as_it_is():
    with replaced("/dev/null") as path:
        assert path == pathlib.Path("/dev/null")


def test_long_names(tmp_path):
    write_text(tmp_path / ("\u00e9" * 120 + ".txt"), "text")
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("age, left", [(10.0, [".draft-1-a/b", ".draft-2-c"]), (7200.0, [])])
def test_litter_is_removed_when_it_is_old(age, left, tmp_path):
    (tmp_path / ".draft-1-a").mkdir()
    for path in (tmp_path / ".draft-1-a" / "b", tmp_path / ".draft-2-c", tmp_path / "kept"):
        path.write_text("")
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, path.stat().st_mtime - age))
    remove_litter(tmp_path)
    assert names(tmp_path) == [*left, "kept"]


# === Folders ===


def test_new(tmp_path):
    write(tmp_path / "some" / "where")
    assert names(tmp_path) == ["some/where/new.txt"]


def test_replaced(folder, tmp_path):
    write(folder, replace=True)
    assert names(tmp_path) == ["out/new.txt"] and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="links are for administrators only")
def test_replaced_behind_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    write(tmp_path / "link", replace=True)
    assert (tmp_path / "link").is_symlink() and names(folder) == ["new.txt"]


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

    monkeypatch.setattr(whole_files, "_swapped", lambda one, other: False)  # as on other systems than Linux
    monkeypatch.setattr(pathlib.Path, "rename", rename)
    with pytest.raises(OSError, match="no room"):
        write(folder, replace=True)
    assert len(seen) == 1 and seen[0].startswith(".replaced-")  # it was whole, aside
    assert names(tmp_path) == ["out/old.txt"]


# === Kills ===


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux exchanges folders in one step")
def test_killed_at_any_moment_the_old_or_the_new_is_there(tmp_path):
    def work():
        write_text(home / "file.txt", "new")
        with draft_of(home / "out", replace=True) as draft:
            for index in range(3):
                (draft / f"{index}.txt").write_text("new")

    seen, killed, count = [], True, 0
    while killed:
        count += 1
        home = tmp_path / str(count)
        (home / "out").mkdir(parents=True)
        (home / "out" / "old.txt").write_text("old")
        write_text(home / "file.txt", "old")
        killed = killed_at(count, home, work)
        seen.append(((home / "file.txt").read_text(), names(home / "out")))
    old, new = ["old.txt"], ["0.txt", "1.txt", "2.txt"]
    assert list(dict.fromkeys((text, tuple(files)) for text, files in seen)) == [
        ("old", tuple(old)),
        ("new", tuple(old)),
        ("new", tuple(new)),
    ]
