"""The browser page: its files, and a real click in a headless Chromium."""

import contextlib
import functools
import http.server
import io
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from exported import tiny_export
from harness import needs_tensorflow
from PIL import Image

from latentdiff.edge import EdgePipeline
from latentdiff.export.web_page import VENDORED, WEB, add_web_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def node_modules(tmp_path):
    """Stand-ins for the packages."""
    for source in VENDORED:
        path = tmp_path / "node_modules" / source
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path / "node_modules"


def test_files(node_modules, tmp_path):
    add_web_page(tmp_path / "edge", node_modules)
    for source, name in VENDORED.items():
        assert (tmp_path / "edge" / "vendor" / name).read_text() == source
    page = (tmp_path / "edge" / "index.html").read_text()
    for name in ("litertjs-core.js", "litertjs-wasm-utils.js", "tokenizers.mjs"):
        assert f"./vendor/{name}" in page and name in VENDORED.values()
    for text in (page, (tmp_path / "edge" / "text_to_image.js").read_text()):
        assert "http://" not in text and "https://" not in text


def test_missing_libraries(node_modules, tmp_path, monkeypatch):
    (node_modules / "@litertjs/core/dist/index.js").unlink()
    with pytest.raises(ValueError, match="must hold @litertjs/core/dist/index.js"):
        add_web_page(tmp_path / "edge", node_modules)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs npm"):
        add_web_page(tmp_path / "edge")


def test_versions_are_pinned():
    lock = (WEB / "package-lock.json").read_text()
    assert lock.count('"integrity": "sha512-') == 3


# === In a browser ===


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def opened(folder):
    """The page of a folder, in a browser, once it has loaded."""
    playwright = pytest.importorskip("playwright.sync_api")
    with serving(folder) as url, playwright.sync_playwright() as library:
        browser = library.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("document.getElementById('status').matches('.error') || !make.disabled", timeout=120_000)
        yield page
        browser.close()


def click(page, **values):
    """Fills in the form and clicks; returns what the page then says, and the saved picture."""
    for name, value in values.items():
        page.fill(f"#{name}", str(value))
    page.click("#make")
    page.wait_for_function("!document.getElementById('make').disabled", timeout=300_000)
    said = page.inner_text("#status")
    if not said.startswith("seed"):
        return said, None
    with page.expect_download() as download:
        page.click("#save")
    content = Path(download.value.path()).read_bytes()
    return said, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture
def folder(tmp_path):
    copy = shutil.copytree(tiny_export()[1], tmp_path / "edge")
    add_web_page(copy, os.environ.get("LATENTDIFF_NODE_MODULES"))
    return copy


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_click_makes_the_picture(folder):
    asked = []
    with opened(folder) as page:
        page.on("request", lambda request: asked.append(request.url))
        runtime = EdgePipeline(folder)
        for settings in (
            {"prompt": "a red apple", "seed": 5, "steps": 4},
            {"prompt": "The SMALL cat", "negative": "blue", "seed": 2**31 - 1, "steps": 7, "guidance": 4.5},
            {"prompt": "cat", "negative": "", "seed": 1, "steps": 2, "guidance": 1},
        ):
            said, picture = click(page, **settings)
            assert said.startswith(f"seed {settings['seed']}, ")
            names = {"steps": "num_steps", "guidance": "guidance_scale", "negative": "negative_prompt"}
            expected = runtime.generate(**{names.get(name, name): value for name, value in settings.items()})
            np.testing.assert_allclose(picture.astype(int), expected, atol=2)
        said, picture = click(page, prompt="a red apple and a green cat")
        assert picture is None and "too long: it has 7 tokens, 6 fit" in said
        said, picture = click(page, prompt="(red:1.5) apple")
        assert picture is None and "weights" in said
        assert (click(page, prompt=r"red\:1", seed=1)[1] == click(page, prompt="red:1")[1]).all()
    assert not [url for url in asked if not url.startswith("blob:")]


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_manifest_decides(folder):
    """Another sampler, spacing and guidance, and another reading of what the denoiser predicts."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    guidance = {"guidance_rescale": 0.7, "guidance_interval": [0.2, 3.0]}
    for name, spacing, prediction_type in (("dpmpp_2m", "leading", "noise"), ("dpmpp_2m", "linspace", "latents")):
        sampler = {"sampler": {"name": name, "spacing": spacing}, "prediction_type": prediction_type}
        path.write_text(json.dumps({**manifest, **guidance, **sampler}))
        with opened(folder) as page:
            _, picture = click(page, prompt="a red apple", seed=3, steps=6, guidance=2.5)
        expected = EdgePipeline(folder).generate("a red apple", seed=3, num_steps=6, guidance_scale=2.5)
        assert expected.std() > 10
        np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_spoiled_folder_says_so(folder):
    content = (folder / "decoder.tflite").read_bytes()
    (folder / "decoder.tflite").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with opened(folder) as page:
        assert page.inner_text("#status") == "decoder.tflite is damaged or swapped"
