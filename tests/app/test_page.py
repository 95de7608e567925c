"""The page: its parts come from the table of settings; and real clicks in a headless Chromium."""

import re
import shutil
import socket

import numpy as np
import pytest
from harness import GOLDEN
from PIL import Image

from latentdiff import TextToImage
from latentdiff.app.model import of_preset, of_server
from latentdiff.app.studio import Studio

pytest.importorskip("gradio")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def parts(model):
    """The components of the page by their ids."""
    from latentdiff.app.page import make_page

    config = make_page(Studio(model)).get_config_file()
    return {part["props"]["elem_id"]: part for part in config["components"] if part["props"].get("elem_id")}, config


def test_each_setting_has_its_field(pipeline):
    model = of_preset("tiny", pipeline)
    page, config = parts(model)
    for row in model.rows:
        assert page[row.name]["props"]["info"] == row.help
    assert page["num_steps"]["props"]["placeholder"] == str(pipeline.num_steps)
    assert [value for _, value in page["sampler"]["props"]["choices"]] == ["", *model.rows[-1].choices]
    assert page["keep_pixels"]["type"] == "checkbox"
    assert not config["analytics_enabled"]


def test_what_a_server_does_not_take_is_not_there():
    page, config = parts(of_server("http://localhost:1", "tiny"))
    assert not {"sampler", "strength", "keep_pixels"} & page.keys()
    hidden = [part["props"]["label"] for part in config["components"] if part["props"].get("visible") is False]
    assert hidden == ["Begin with an image", "LoRA"]


# === In a browser ===


@pytest.fixture
def connections(monkeypatch):
    """The hosts that this process asks for or connects to."""
    seen, connect, look_up = set(), socket.socket.connect, socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", lambda one, to: (seen.add(to[0]), connect(one, to))[1])
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: (seen.add(host), look_up(host, *rest, **more))[1]
    )
    return seen


@pytest.fixture
def studio():
    return Studio(of_preset("tiny", TextToImage.from_preset(GOLDEN / "jax_preset")), max_steps=500)


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser, connections, studio):
    """An open page of a tiny preset, and the hosts that the browser asked."""
    from latentdiff.app.page import serve

    page = serve(studio)
    hosts, errors = set(), []
    tab = browser.new_context(viewport=DESKTOP).new_page()
    tab.set_default_timeout(30_000)
    tab.on("request", lambda request: hosts.add(re.sub(r"^(\w+://)?([^/:]*).*", r"\2", request.url)))
    tab.on("pageerror", lambda error: errors.append(error))
    tab.goto(page.local_url)
    tab.wait_for_selector("#generate")
    yield tab
    page.close(verbose=False)
    assert errors == []
    assert hosts | connections <= {"127.0.0.1", "localhost", "blob", "data"}


def unfold(tab, name):
    tab.locator(".label-wrap", has_text=re.compile(f"^\\s*{name}")).first.click()


def status(tab, text):
    """Waits until the line of text has this in it."""
    tab.wait_for_function("text => document.querySelector('#status textarea').value.includes(text)", arg=text)


def choose(tab, name, label):
    tab.locator(f"#{name} input").click()
    tab.get_by_role("option", name=label, exact=True).last.click()


def shown(tab, path):
    """The image in the preview, as a file and as an array."""
    source = tab.wait_for_selector("#preview img").get_attribute("src")
    path.write_bytes(tab.request.get(source).body())
    return np.asarray(Image.open(path).convert("RGB"))


def paint(tab, path):
    """Puts an image into the editor and draws a line."""
    unfold(tab, "Begin with an image")
    tab.locator("#editor canvas").first.wait_for()
    tab.wait_for_timeout(1000)  # the canvas gets its size
    tab.locator("#editor input[type=file]").first.set_input_files(path)
    tab.wait_for_selector("#editor button[title='Color']")  # the brush is there, and so is the image
    tab.wait_for_timeout(1000)
    box = tab.locator("#editor canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x - 20, y)
    tab.mouse.down()
    tab.mouse.move(x + 20, y, steps=5)
    tab.mouse.up()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_clicks(tab, studio, tmp_path):
    tab.fill("#prompts textarea", "a red cat")
    unfold(tab, "Settings")
    tab.fill("#seed textarea", "7")
    tab.fill("#num_steps textarea", "4")
    tab.click("#generate")
    status(tab, "1 of 1 done")
    expected = TextToImage.from_preset(GOLDEN / "jax_preset").generate("a red cat", seed=7, num_steps=4)
    np.testing.assert_array_equal(shown(tab, tmp_path / "preview.png"), expected)
    assert tab.input_value("#command textarea").endswith("'a red cat' --seed 7 --num-steps 4")

    # its PNG, as the gallery has it, fills the fields of another visitor
    file = tmp_path / "made.png"
    file.write_bytes(tab.request.get(tab.locator("#gallery img").first.get_attribute("src")).body())
    other = tab.context.browser.new_context(viewport=PHONE).new_page()
    other.goto(tab.url)
    other.wait_for_selector("#generate")
    assert other.locator("#gallery img").count() == 0  # sessions are apart
    unfold(other, "Settings of a PNG")
    other.locator("#png input[type=file]").set_input_files(file)
    status(other, "read")
    assert other.input_value("#prompts textarea") == "a red cat"
    unfold(other, "Settings")
    assert other.input_value("#seed textarea") == "7"

    other.fill("#num_steps textarea", "1")
    other.fill("#num_images input", "4")
    other.click("#generate")
    status(other, "4 of 4 done")
    other.wait_for_function("document.querySelectorAll('#gallery .thumbnail-lg img').length == 4")
    assert other.evaluate("document.documentElement.scrollWidth") == PHONE["width"]

    # what is wrong is told
    tab.fill("#num_steps textarea", "501")
    tab.click("#generate")
    tab.wait_for_selector("text=`num_steps` must be at most 500 here")

    # one is drawn at a time, the other waits; stop ends the one that waits, then the one that is drawn
    tab.fill("#num_steps textarea", "500")
    tab.fill("#num_images input", "16")
    tab.click("#generate")
    status(tab, "step")
    other.click("#generate")
    other.wait_for_selector("text=/queue: 1.1/")
    other.click("#stop")
    status(other, "stopped")
    tab.click("#stop")
    status(tab, "stopped")
    tab.fill("#num_images input", "1")
    tab.wait_for_timeout(1000)
    assert other.input_value("#status textarea") == "stopped"
    assert other.locator("#gallery .thumbnail-lg img").count() == 4
    assert not studio._stops

    # a matrix
    tab.fill("#num_steps textarea", "2")
    unfold(tab, "Matrix")
    choose(tab, "columns-setting", "seed")
    tab.fill("#columns-values textarea", "1\n2")
    choose(tab, "rows-setting", "sampler")
    tab.fill("#rows-values textarea", "ddim\neuler")
    tab.click("#matrix")
    status(tab, "4 of 4 done")
    assert tab.locator("#gallery .thumbnail-lg img").count() >= 5

    # image to image, then only what is painted
    Image.fromarray(np.full((64, 64, 3), 200, "uint8")).save(tmp_path / "begin.png")
    paint(tab, tmp_path / "begin.png")
    tab.locator("#keep_pixels input").check()
    tab.click("#generate")
    status(tab, "1 of 1 done")
    made = shown(tab, tmp_path / "painted.png")
    assert (made == 200).all(-1).any() and not (made == 200).all()
    tab.screenshot(path=tmp_path / "desktop.png", full_page=True)
    other.screenshot(path=tmp_path / "phone.png", full_page=True)
