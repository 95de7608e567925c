"""What an import takes from the hub, a server on this machine."""

from pathlib import Path

import pytest
from convert.tiny_folders import golden, write_folder, write_weights
from hub_server import python, serving

pytest.importorskip("huggingface_hub")

CODE = """
import sys
from latentdiff.convert.hub import local_folder
print(local_folder(sys.argv[1], sys.argv[2]))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Function that downloads from a server in a process of its own, and the server."""
    base = tmp_path_factory.mktemp("hub")
    root = write_folder(base / "root", golden("sd1"), dtype="float16", variant="fp16")
    write_weights(root / "unet", "diffusion_pytorch_model", {})
    write_weights(root, "all-in-one", {})
    (root / "safety_checker").mkdir()
    (root / "safety_checker" / "model.fp16.safetensors").write_bytes(b"")
    with serving(root) as server:
        yield lambda source: python(CODE, server, base / "cache", source, "fp16"), server


def test_what_an_import_needs_is_downloaded(served):
    download, server = served
    done = download("hf://owner/name")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    received = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    unneeded = {"unet/diffusion_pytorch_model.safetensors", "all-in-one.safetensors"}
    unneeded |= {"safety_checker/model.fp16.safetensors"}
    assert received == server.asked == set(server.files()) - unneeded
    assert all((folder / name).read_bytes() == (server.root / name).read_bytes() for name in received)


def test_no_such_repository(served):
    done = served[0]("hf://owner/other")
    assert done.returncode != 0
    assert "ValueError: hf://owner/other can't be used" in done.stderr
