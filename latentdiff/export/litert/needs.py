"""What an export for the edge needs beside this package, looked for before any work."""

import importlib.util
import shutil


def check_needs(quantized, web, node_modules):
    """Looks for all that an export will use; imports nothing heavy.

    Args:
        quantized: whether any part gets fewer bits.
        web: whether the page for the browser is written.
        node_modules: the folder of its libraries, or None, if npm fetches them.

    Raises:
        ValueError: something is not installed.
    """
    packages = {"ai_edge_litert": "ai-edge-litert", **({"litert_quantizer": "litert-quantizer"} if quantized else {})}
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(
            f'LiteRT files are written with {" and ".join(missing)}, not installed: pip install "latentdiff[edge]"'
        )
    if web and node_modules is None and shutil.which("npm") is None:
        raise ValueError("The browser page needs npm, which is not installed: see nodejs.org, or give `node_modules`")
