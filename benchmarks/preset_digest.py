"""What tells one preset from another, whatever their folders are called: a digest of their files."""

import hashlib

from latentdiff.presets.folder import preset_folder


def preset_digest(preset):
    """16 letters that depend on all files of a preset but its model card: weights, configuration, defaults, tokenizer.

    Args:
        preset: name or folder of a preset.
    """
    folder = preset_folder(preset)
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
