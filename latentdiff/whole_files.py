"""Files and folders that are written whole or not at all: whoever looks, whenever, sees the old one or the new one.

Each is written under another name beside its place (`.draft-...`), flushed to the disk, and renamed.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

LITTER_AGE = 3600.0  # seconds after which nobody writes into a draft any more


@contextlib.contextmanager
def replaced(path):
    """A path beside the final one, with the same ending. The file written there takes the place of the final one.

    If something goes wrong, it is removed. What is no regular file, such as /dev/stdout, is written as it is.

    Args:
        path: str or Path of the final file; a link is followed. Its folder must be there.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    draft = _draft_name(path.parent, path.name)
    try:
        yield draft
        if path.exists():
            shutil.copymode(path, draft)
        sync(draft)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_bytes(path, content):
    """Writes bytes to a file, whole or not at all."""
    with replaced(path) as draft:
        draft.write_bytes(content)


def write_text(path, text):
    """Writes a text to a file, as UTF-8, whole or not at all."""
    with replaced(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def draft_of(folder, replace=False):
    """A folder beside the final one, put in its place at the end, or removed if something goes wrong.

    Args:
        folder: Path of the final one.
        replace: whether what is there by then makes room; else an OSError leaves it as it is. Linux exchanges the two
            at once. Elsewhere the old one is put aside, as `.replaced-...` beside the folder, until the new one is in
            place.
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft_name(folder.parent, folder.name)
    draft.mkdir()
    try:
        yield draft
        sync_tree(draft)
        if replace and folder.exists():
            _exchange(folder, draft)
        else:
            draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(folder.parent)


def sync(path):
    """Waits until a file, or the list of a folder's names, is on the disk."""
    folder = os.path.isdir(path)
    try:
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except OSError:
        if folder:  # Windows opens none
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError:  # some network disks can't flush a folder
        if not folder:
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder):
    """Waits until everything in a folder is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            sync(path)


def remove_litter(folder, age=LITTER_AGE):
    """Removes the drafts in a folder that a killed process left there, where nobody wrote for `age` seconds."""
    for path in folder.glob(".draft-*"):
        parts = [path, *path.rglob("*")] if path.is_dir() else [path]
        with contextlib.suppress(OSError):  # another process may put it in place just now
            if time.time() - max(part.stat().st_mtime for part in parts) >= age:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_whole(folder):
    """Removes a folder. From the first moment on nothing of it is found under its name."""
    aside = _draft_name(folder.parent, folder.name)
    folder.rename(aside)
    shutil.rmtree(aside)


def _draft_name(folder, name):
    return folder / f".draft-{secrets.token_hex(4)}-{name[-40:]}"  # its end: writers look at it


def _exchange(folder, draft):
    """Puts the draft in the place of a folder. At every moment the old one or the new one is there, whole."""
    if _swapped(folder, draft):
        shutil.rmtree(draft)
        return
    aside = draft.with_name(draft.name.replace(".draft-", ".replaced-"))
    folder.rename(aside)
    try:
        draft.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


def _swapped(one, other):
    """Exchanges two paths in one step; False where the system or the file system can't."""
    if not sys.platform.startswith("linux"):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <fcntl.h> and <linux/fs.h>
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
