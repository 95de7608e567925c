"""Folders that are written whole or not at all."""

import contextlib
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def draft_of(folder, replace=False):
    """A folder beside the final one, put in its place at the end, or removed if something goes wrong.

    Args:
        folder: Path of the final one.
        replace: whether what is there by then makes room; else an OSError leaves it as it is. It is put aside, as
            `.replaced-...` beside the folder, until the new one is in place.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp lets nobody else in; a server may run as another user
        if replace and folder.exists():
            _exchange(folder, draft)
        else:
            draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _exchange(folder, draft):
    """Puts the draft in the place of a folder. At every moment the old one or the new one is there, whole."""
    aside = draft.with_name(draft.name.replace(".draft-", ".replaced-"))
    folder.rename(aside)
    try:
        draft.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)
