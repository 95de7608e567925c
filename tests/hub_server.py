"""A stand-in for the Hugging Face Hub on this machine: one repository, owner/name, in a folder."""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import latentdiff

COMMIT = "0" * 40


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of `root`, and writes into it what is pushed.

    Attributes:
        asked: names of the files that were asked for.
        faults: dict of a file's name to what is wrong with it: "cut" (half of it comes), "missing" or "changed".
        deleted: names that pushes deleted.
    """

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.asked, self.faults, self.deleted = Path(root), set(), {}, []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def files(self):
        return {str(file.relative_to(self.root)): file for file in self.root.rglob("*") if file.is_file()}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.get(with_body=False)

    def do_GET(self):
        self.get(with_body=True)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = {}
        if self.path.endswith("/repos/create"):
            answer = {"url": f"{self.server.endpoint}/owner/name"}
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            answer = {
                "files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]
            }
        elif "/commit/" in self.path:
            self.commit([json.loads(line) for line in body.splitlines()])
            answer = {"commitOid": COMMIT, "commitUrl": f"{self.server.endpoint}/owner/name/commit/{COMMIT}"}
        self.send(json.dumps(answer).encode())

    def commit(self, operations):
        for operation in operations:
            path = self.server.root / operation["value"].get("path", "")
            if operation["key"] == "file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(operation["value"]["content"]))
            elif operation["key"] == "deletedFile":
                self.server.deleted.append(operation["value"]["path"])
                path.unlink()

    def get(self, with_body):
        path, files = self.path.partition("?")[0], self.server.files()
        name = path.partition(f"/owner/name/resolve/{COMMIT}/")[2]
        if path.startswith("/api/models/owner/name/tree/"):
            self.send(json.dumps([_entry(name, file) for name, file in files.items()]).encode())
        elif path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": file} for file in files]
            self.send(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode())
        elif name in files and self.server.faults.get(name) != "missing":
            self.server.asked.add(name)
            self.send_file(name, files[name].read_bytes(), with_body)
        else:
            self.send(b"", 404, {"X-Error-Code": "EntryNotFound" if name in files else "RepoNotFound"})

    def send_file(self, name, content, with_body):
        told = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        fault = self.server.faults.get(name)
        if fault == "changed":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if start:
            told["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        self.send(rest, 206 if start else 200, told, with_body, cut=with_body and fault == "cut")

    def send(self, body, status=200, headers=(), with_body=True, cut=False):
        self.send_response(status)
        for key, value in {**dict(headers), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = self.close_connection or cut

    def log_message(self, *args):
        pass


def _entry(name, file):
    return {"type": "file", "oid": COMMIT, "path": name, "size": file.stat().st_size}


@contextlib.contextmanager
def serving(root):
    """A `Server` of a folder, as long as the block runs."""
    server = Server(root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def python(code, server, cache, *arguments, **variables):
    """Runs Python in a process of its own, for which the server is the hub: its client reads that when imported."""
    environment = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"PYTHONPATH": str(Path(latentdiff.__file__).parents[1]), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, check=False)
