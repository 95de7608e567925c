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
        replace: whether what is there by then is removed; else an OSError leaves it as it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp lets nobody else in; a server may run as another user
        if replace and folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
