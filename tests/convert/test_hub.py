"""The client of the hub, against a server on this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from convert.tiny_folders import golden, write_folder, write_weights

import latentdiff

pytest.importorskip("huggingface_hub")
COMMIT = "0" * 40


def handler(root, asked):
    """A server of one repository, owner/name, with the answers that the client needs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body):
            path = self.path.partition("?")[0]
            files = {str(file.relative_to(root)): file for file in root.rglob("*") if file.is_file()}
            name = path.removeprefix(f"/owner/name/resolve/{COMMIT}/")
            if path.startswith("/api/models/owner/name/tree/"):
                entries = [{"type": "file", "oid": COMMIT, "path": file} for file in files]
                body = json.dumps(
                    [{**entry, "size": files[entry["path"]].stat().st_size} for entry in entries]
                ).encode()
            elif path.startswith("/api/models/owner/name"):
                siblings = [{"rfilename": file} for file in files]
                body = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
            elif name in files:
                asked.add(name)
                body = files[name].read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    return Handler


CODE = """
import sys
from latentdiff.convert.hub import local_folder
print(local_folder(sys.argv[1], sys.argv[2]))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Function that downloads from a server in a process of its own, and the names of the files that it asked for."""
    base, asked = tmp_path_factory.mktemp("hub"), set()
    root = write_folder(base / "root", golden("sd1"), dtype="float16", variant="fp16")
    write_weights(root / "unet", "diffusion_pytorch_model", {})
    write_weights(root, "all-in-one", {})
    (root / "safety_checker").mkdir()
    (root / "safety_checker" / "model.fp16.safetensors").write_bytes(b"")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(root, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(base / "cache"),
    }
    environment |= {"PYTHONPATH": str(Path(latentdiff.__file__).parents[1]), "HF_HUB_DISABLE_XET": "1"}

    def download(source):
        command = [sys.executable, "-c", CODE, source, "fp16"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    yield download, asked, root
    server.shutdown()
    server.server_close()


def test_what_an_import_needs_is_downloaded(served):
    download, asked, root = served
    done = download("hf://owner/name")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    received = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    unneeded = {"unet/diffusion_pytorch_model.safetensors", "all-in-one.safetensors"}
    unneeded |= {"safety_checker/model.fp16.safetensors"}
    expected = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()} - unneeded
    assert received == asked == expected
    assert all((folder / name).read_bytes() == (root / name).read_bytes() for name in received)


def test_no_such_repository(served):
    done = served[0]("hf://owner/other")
    assert done.returncode != 0
    assert "ValueError: `source` must be hf://OWNER/NAME of a repository. Received: hf://owner/other" in done.stderr
