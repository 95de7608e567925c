"""The page about a run: read by the parsers of the standard library."""

import base64
import html.parser
import xml.etree.ElementTree as tree

import numpy as np
import pytest
from harness import tiny_latent_diffusion

from latentdiff.data.images import encode_png
from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.nearest import nearest_rows, save_nearest
from latentdiff.recipes.report import write_report
from latentdiff.recipes.run import Run

GREY = encode_png(np.full((2, 2, 3), 128, "uint8"))


class Parts(html.parser.HTMLParser):
    """Texts, images and links of a page."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.images, self.curves, self.links = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [value for name, value in attributes.items() if name in ("href", "src", "action")]
        self.images += [attributes["src"]] if tag == "img" else []
        self.curves += [attributes["points"]] if tag == "polyline" else []

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.fixture
def run(tmp_path):
    """A run whose stages left their files; its name needs escaping."""
    output = tmp_path / "a <b> & c"
    for name in ("previews/epoch_0003.png", "autoencoder.png"):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_bytes(GREY)
    (output / "latent_diffusion").mkdir()
    (output / "latent_diffusion/log.csv").write_text("epoch,loss,val_loss\n0,0.5,0.75\n1,0.25,\n2,0.375,0.5\n")
    return Run(Experiment(learning_rate=3e-4, lora={"rank": 2}), output)


def test_the_page_has_curves_images_settings_and_the_next_command(run):
    page = Parts(write_report(run, 'latentdiff generate "a <cat>"').read_text("utf-8"))
    assert 'latentdiff generate "a <cat>"' in page.texts and any("a <b> & c" in text for text in page.texts)
    assert page.curves == ["0.0,0.0 320.0,200.0 640.0,100.0", "0.0,0.0 640.0,200.0"]
    assert "loss: 0.5 after epoch 1, 0.375 after epoch 3" in page.texts
    assert [base64.b64decode(image.partition(",")[2]) for image in page.images] == [GREY, GREY]
    assert all(link.startswith("data:image/png;base64,") for link in page.links)  # nothing from elsewhere
    settings = dict(zip(page.texts, page.texts[1:], strict=False))
    assert settings["learning_rate"] == "0.0003" and settings["lora"] == '{"rank": 2}' and "ema" not in settings


def test_each_curve_is_whole_xml(run):
    text = write_report(run).read_text("utf-8")
    for part in text.split("<svg")[1:]:
        tree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>")
    assert "Next" not in Parts(text).texts


def test_a_run_that_left_nothing_has_a_page(tmp_path):
    assert "as by default" in Parts(write_report(Run(Experiment(), tmp_path)).read_text("utf-8")).texts


def test_the_nearest_are_those_of_all_distances(monkeypatch):
    monkeypatch.setattr("latentdiff.recipes.nearest.CHUNK", 7)
    rng = np.random.default_rng(0)
    made, latents = rng.normal(size=(4, 2, 2, 3)), rng.normal(size=(30, 2, 2, 2, 3)).astype("float32")
    distances = np.linalg.norm(made[:, None].reshape(4, 1, -1) - latents[:, 0].reshape(1, 30, -1), axis=-1)
    np.testing.assert_array_equal(nearest_rows(made, latents), np.argsort(distances, axis=1)[:, :3])


def test_a_training_image_is_nearest_to_itself(tmp_path):
    model = tiny_latent_diffusion()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), "uint8")
    latents = np.asarray(model.autoencoder.encode(images))[:, None]
    save_nearest(tmp_path / "nearest.png", model, images[:2], latents)
    assert nearest_rows(latents[:2, 0], latents)[:, 0].tolist() == [0, 1]
    assert (tmp_path / "nearest.png").is_file()
