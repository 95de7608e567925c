"""How a preset takes the place of another one in the same folder: at every moment one of the two is there, whole.

1. All files of the new one are written into a draft in the folder.
2. The draft is renamed to `.next`. That is the moment: from here on, `where` answers `.next`.
3. Its files get their places in the folder, as further names of the same files, or as copies where a disk has no such.
   Files of the old preset that the new one lacks are removed; others, such as a README.md, stay.
4. `.next` is removed.

A process killed before 2 leaves the old preset, one killed later the new one; the next that writes completes it.
"""

import contextlib
import os
import shutil

from latentdiff.whole_files import draft_of, remove_litter, remove_whole, replaced, sync

NEXT = ".next"
FIRST = "metadata.json"  # who reads the folder knows by it that another preset came in between
WEIGHTS, ASSETS = ("model.weights.*", "model.safetensors"), ("assets/tokenizer/*",)
OWN = (*WEIGHTS, *ASSETS)


def where(folder):
    """The folder that holds the files of the preset in `folder`: itself, or `.next` in it."""
    return folder / NEXT if (folder / NEXT).is_dir() else folder


def stamp(folder):
    """A value that is another one as soon as the preset in `folder` is another one."""
    with contextlib.suppress(FileNotFoundError):
        stat = (folder / FIRST).stat()
        return where(folder), stat.st_ino, stat.st_mtime_ns
    return where(folder), None, None


@contextlib.contextmanager
def replacing(folder):
    """An empty folder for the files of a preset, which are those of `folder` at the end. Makes `folder` if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_litter(folder)
    _complete(folder)
    with draft_of(folder / NEXT) as draft:
        yield draft
    _complete(folder)


def _complete(folder):
    """Steps 3 and 4, from wherever they were interrupted."""
    source = folder / NEXT
    if not source.is_dir():
        return
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    for name in sorted(names, key=lambda name: (name.name != FIRST, name)):
        _place(source / name, folder / name)
    for patterns in (WEIGHTS, ASSETS):
        new, old = ([path for pattern in patterns for path in place.glob(pattern)] for place in (source, folder))
        for path in old:
            if new and path.name not in {kept.name for kept in new}:
                path.unlink()
    sync(folder)
    remove_whole(source)


def _place(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    with replaced(target) as draft:
        try:
            os.link(source, draft)
        except OSError:
            shutil.copyfile(source, draft)
