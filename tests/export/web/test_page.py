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

import keras_hub
import numpy as np
import pytest
from export.litert.test_tokenizer_json import TEXTS, words
from harness import needs_tensorflow
from PIL import Image

from latentdiff.evaluation import psnr
from latentdiff.export.litert.litert import export_litert
from latentdiff.export.litert.tokenizer_json import tokenizer_json
from latentdiff.export.web.page import VENDORED, WEB, add_web_page
from latentdiff.runtimes.edge import EdgePipeline

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
    assert (
        "LICENSE" in VENDORED.values() and "`vendor/LICENSE`" in (WEB.parent / "litert" / "edge_readme.md").read_text()
    )
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
    """Fills in the form and clicks; returns what the page then says, and the saved image."""
    for name, value in values.items():
        if name == "image":
            page.set_input_files("#image", [] if value is None else value)
        elif name == "sampler":
            page.select_option("#sampler", value)
        else:
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


NO_NETWORK = ("EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ENOTCACHED", "ENOTFOUND", "ETIMEDOUT")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """The page and its libraries: from the folder that an environment variable names, or from npm."""
    page = tmp_path_factory.mktemp("web")
    try:
        add_web_page(page, os.environ.get("LATENTDIFF_NODE_MODULES"))
    except ValueError as error:
        if "needs npm" in str(error) or any(code in str(error) for code in NO_NETWORK):
            pytest.skip(f"needs npm and its registry: {error}")
        raise
    return page


@pytest.fixture
def folder(tmp_path, libraries, whole_export):
    copy = shutil.copytree(whole_export[1], tmp_path / "edge")
    return shutil.copytree(libraries, copy, dirs_exist_ok=True)


def in_a_browser(test):
    """Marks a test that opens one."""
    return pytest.mark.slow(needs_tensorflow(pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")(test)))


@in_a_browser
def test_a_click_makes_the_picture(folder):
    asked = []
    with opened(folder) as page:
        page.on("request", lambda request: asked.append(request.url))
        runtime = EdgePipeline(folder)
        for settings in (
            {"prompt": "a red apple", "seed": 5, "num_steps": 4},
            {
                "prompt": "The SMALL cat",
                "negative_prompt": "blue",
                "seed": 2**31 - 1,
                "num_steps": 7,
                "guidance_scale": 4.5,
            },
            {"prompt": "cat", "negative_prompt": "", "seed": 1, "num_steps": 2, "guidance_scale": 1},
        ):
            said, picture = click(page, **settings)
            assert said.startswith(f"seed {settings['seed']}, ")
            names = {"prompt": "prompts", "negative_prompt": "negative_prompts"}
            expected = runtime.generate(**{names.get(name, name): value for name, value in settings.items()})
            np.testing.assert_allclose(picture.astype(int), expected, atol=2)
        said, picture = click(page, prompt="a red apple and a green cat")
        assert picture is None and "too long: it has 7 tokens, 6 fit" in said
        said, picture = click(page, prompt="(red:1.5) apple")
        assert picture is None and "weights" in said
        assert (click(page, prompt=r"red\:1", seed=1)[1] == click(page, prompt="red:1")[1]).all()
    assert not [url for url in asked if not url.startswith("blob:")]


@in_a_browser
def test_eight_bits(libraries, tmp_path, whole_export):
    """The processor's arithmetic is not the browser's: where one rounds up the other may round down, by one step."""
    pytest.importorskip("litert_quantizer")
    folder = export_litert(whole_export[0], tmp_path / "edge", quantization="dynamic_int8")
    shutil.copytree(libraries, folder, dirs_exist_ok=True)
    floats, eights = EdgePipeline(whole_export[1]), EdgePipeline(folder)
    with opened(folder) as page:
        for prompt, seed in (("a red apple", 5), ("the small cat", 6)):
            _, picture = click(page, prompt=prompt, seed=seed, num_steps=4)
            expected, exact = (one.generate(prompt, seed=seed, num_steps=4) for one in (eights, floats))
            assert psnr(expected[None], exact[None])[0] < 60.0  # it is another image than that of 32 bits
            assert psnr(expected[None], picture[None])[0] > 40.0


@in_a_browser
def test_the_tokens_are_the_same(folder):
    """Also of letters with accents, of other scripts, and of images."""
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=words(), lowercase=True, strip_accents=True)
    (folder / "words.json").write_text(json.dumps(tokenizer_json(tokenizer)), encoding="utf-8")
    script = """async (texts) => {
        const { Tokenizer } = await import("@huggingface/tokenizers");
        const tokenizer = new Tokenizer(await (await fetch("words.json")).json(), {});
        return texts.map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
    }"""
    texts = [text for text in TEXTS if text]
    with opened(folder) as page:
        received = page.evaluate(script, texts)
        _, picture = click(page, prompt="Réd größe, 日本", seed=2, num_steps=3)
    assert received == [np.asarray(tokenizer(text)).tolist() for text in texts]
    expected = EdgePipeline(folder).generate("Réd größe, 日本", seed=2, num_steps=3)
    np.testing.assert_allclose(picture.astype(int), expected, atol=2)


@in_a_browser
def test_every_sampler_and_setting(folder):
    limits = {"guidance_rescale": 0.7, "guidance_interval_low": 0.2, "guidance_interval_high": 3.0}
    runtime = EdgePipeline(folder)
    with opened(folder) as page:
        for name in runtime.manifest["samplers"]:
            settings = {"seed": 3, "num_steps": 4, "guidance_scale": 2.5, "sampler": name}
            _, picture = click(page, prompt="a red apple", **settings, **limits)
            theirs = {"guidance_rescale": 0.7, "guidance_interval": (0.2, 3.0)}
            expected = runtime.generate("a red apple", **settings, **theirs)
            assert expected.std() > 10
            np.testing.assert_allclose(picture.astype(int), expected, atol=2)
        said, picture = click(page, prompt="cat", guidance_interval_low=4.0)
        assert picture is None and "guidance_interval must be an interval" in said


@in_a_browser
def test_an_image_to_start_from(folder, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype("uint8")
    Image.fromarray(image).save(tmp_path / "start.png")
    settings = {"seed": 4, "num_steps": 5, "strength": 0.55}
    with opened(folder) as page:
        _, picture = click(page, prompt="cat", image=tmp_path / "start.png", **settings)
        expected = EdgePipeline(folder).generate("cat", images=image, **settings)
        np.testing.assert_allclose(picture.astype(int), expected, atol=2)
        said, picture = click(page, prompt="cat", image=None)
        assert picture is None and "strength needs images" in said


@in_a_browser
def test_a_spoiled_folder_says_so(folder):
    manifest = json.loads((folder / "manifest.json").read_text())

    def changed(**changes):
        return json.dumps({**manifest, **changes}).encode()

    content = (folder / "decoder.tflite").read_bytes()
    files = {name: record for name, record in manifest["files"].items() if name != "tokenizer.json"}
    spoiled = {
        "decoder.tflite is damaged or swapped": ("decoder.tflite", content[:-1] + bytes([content[-1] ^ 1])),
        "decoder.tflite is truncated or swapped": ("decoder.tflite", content[:-1]),
        "/decoder.tflite can't be read: 404": ("decoder.tflite", None),
        "/manifest.json can't be read: 404": ("manifest.json", None),
        "manifest.json is damaged: ": ("manifest.json", b"<html>"),
        "manifest.json is not latentdiff-litert version 2, but undefined": ("manifest.json", b"null"),
        "version 2, but latentdiff-litert version 1": ("manifest.json", changed(version=1)),
        "it lacks tokenizer/file": ("manifest.json", changed(tokenizer=None)),
        "it lacks files/tokenizer.json": ("manifest.json", changed(files=files)),
    }
    for message, (name, wrong) in spoiled.items():
        path = folder / name
        right = path.read_bytes()
        path.unlink() if wrong is None else path.write_bytes(wrong)
        with opened(folder) as page:
            assert message in page.inner_text("#status") and page.is_disabled("#make")
        path.write_bytes(right)
