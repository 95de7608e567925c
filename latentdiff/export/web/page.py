"""The browser page of an exported folder: static files, which need no server program and no network once loaded."""

import shutil
import subprocess
import tempfile
from pathlib import Path

WEB = Path(__file__).parent
PAGE_FILES = ("index.html", "text_to_image.js")
# Files of npm packages and what they are called in the folder's vendor/. LiteRT.js takes the build with threads where
# the page is cross-origin isolated, and the compatible one where there is no relaxed SIMD.
VENDORED = {
    "@huggingface/tokenizers/LICENSE": "LICENSE",  # Apache-2.0, as all of them; the packages of LiteRT.js hold no copy
    "@huggingface/tokenizers/dist/tokenizers.mjs": "tokenizers.mjs",
    "@litertjs/core/dist/index.js": "litertjs-core.js",
    "@litertjs/wasm-utils/dist/index.js": "litertjs-wasm-utils.js",
    **{
        f"@litertjs/core/wasm/litert_wasm{build}_internal.{kind}": f"litert/litert_wasm{build}_internal.{kind}"
        for build in ("", "_threaded", "_compat")
        for kind in ("js", "wasm")
    },
}


def add_web_page(folder, node_modules=None):
    """Writes the page and its libraries into an exported folder.

    Args:
        folder: the exported folder.
        node_modules: where npm has put the packages that `web/package.json` names; None fetches them with `npm ci`,
            which compares them with the checksums in `web/package-lock.json`.

    Raises:
        ValueError: there is no npm, it can't fetch the packages, or a file of them is missing.
    """
    with tempfile.TemporaryDirectory() as draft:
        packages = _fetch(Path(draft)) if node_modules is None else Path(node_modules)
        for source, name in VENDORED.items():
            target = folder / "vendor" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (packages / source).is_file():
                raise ValueError(f"`node_modules` must hold {source}. Received: node_modules={str(packages)!r}")
            shutil.copyfile(packages / source, target)
    for name in PAGE_FILES:
        shutil.copyfile(WEB / name, folder / name)


def _fetch(draft):
    """Fetches the packages into a folder; returns its node_modules."""
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(WEB / name, draft / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=draft, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ValueError("The browser page needs npm, which is not installed: see nodejs.org") from error
    except subprocess.CalledProcessError as error:
        raise ValueError(f"npm can't fetch the libraries of the browser page: {error.stderr.strip()}") from error
    return draft / "node_modules"
