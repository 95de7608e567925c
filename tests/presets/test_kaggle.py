"""Presets on Kaggle, against a server on this machine, where its client looks for one when it is tested."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import GOLDEN

import latentdiff
from latentdiff.presets import weights
from latentdiff.presets.push import portable

pytest.importorskip("kagglehub")
PORT = 7777  # of KAGGLE_API_ENVIRONMENT=TEST
ADDRESS = "kaggle://owner/model/keras/tiny"
CODE = """
import sys
from latentdiff.presets.folder import preset_folder
from latentdiff.presets.weights import _checked_file
folder = preset_folder(sys.argv[1])
with _checked_file(folder):
    print("folder", folder)
"""


def handler(root, cut):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
            if request.get("ownerSlug") != "owner":
                self.send({"code": 404, "message": "404 Client Error"}, 404)
            elif self.path.endswith("/GetModelInstance"):
                self.send({"versionNumber": 3})
            elif self.path.endswith("/ListModelInstanceVersionFiles"):
                self.send({"files": [{"name": name} for name in files], "nextPageToken": ""})
            else:
                self.send_file(files[request["path"]].read_bytes(), request["path"] in cut)

        def send(self, answer, status=200):
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_file(self, content, cut):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)

        def log_message(self, *args):
            pass

    return Handler


@pytest.fixture
def download(tmp_path):
    """Function (address) that downloads in a process of its own, the set of files that are cut, and their folder."""
    root, cut = tmp_path / "root", set()
    root.mkdir()
    portable(GOLDEN / "jax_preset", root, ADDRESS)
    try:
        server = http.server.ThreadingHTTPServer(("localhost", PORT), handler(root, cut))
    except OSError:
        pytest.skip(f"port {PORT} is taken")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "KAGGLE_API_ENVIRONMENT": "TEST", "KAGGLEHUB_CACHE": str(tmp_path / "cache")}
    environment |= {"PYTHONPATH": str(Path(latentdiff.__file__).parents[1]), "HOME": str(tmp_path)}

    def run(address):
        command = [sys.executable, "-c", CODE, address]
        return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)

    with contextlib.closing(server.socket):
        yield run, cut, root
        server.shutdown()


def test_download_and_cache(download):
    run, _, root = download
    done = run(ADDRESS)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.rpartition("folder ")[2].strip())
    assert folder.name == "3"
    assert {path.name for path in folder.rglob("*") if path.is_file()} >= {"config.json", weights.SAFETENSORS_FILE}
    (root / weights.SAFETENSORS_FILE).unlink()
    assert run(f"{ADDRESS}/3").returncode == 0  # of the cache


def test_a_cut_connection_and_a_wrong_address(download):
    run, cut, _ = download
    cut.add(weights.SAFETENSORS_FILE)
    assert "can't be used" in run(ADDRESS).stderr
    cut.clear()
    assert run(ADDRESS).returncode == 0
    assert (
        "ValueError: kaggle://nobody/model/keras/tiny can't be used" in run("kaggle://nobody/model/keras/tiny").stderr
    )
    assert "ValueError: kaggle://owner can't be used" in run("kaggle://owner").stderr
