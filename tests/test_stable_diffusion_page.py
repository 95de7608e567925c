"""The commands of docs/stable-diffusion.md, one after the other as they are typed, with tiny weights."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from code_blocks import blocks, commands
from convert.tiny_folders import golden, single_file, write_folder, write_weights
from harness import gap, needs_tensorflow
from PIL import Image

from latentdiff import TextToImage, cli
from latentdiff.data.images import load_picture, read_settings

PAGE = Path(__file__).parents[1] / "docs" / "stable-diffusion.md"
SIDE = "16"  # of the images of the tiny models, in place of 512
LEVELS = 2  # of 255: what two ways to the same float32 image may differ by
NEEDS = {"litert": ("ai_edge_litert", "litert_quantizer"), "--server": ("tensorflow_serving", "grpc")}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with what the page takes for granted; hf:// leads into its folder `hub`."""
    monkeypatch.chdir(tmp_path)
    small = golden("sd1")
    write_folder(tmp_path / "stable-diffusion-v1-5", small)
    write_folder(tmp_path / "hub" / "stable-diffusion-v1-5" / "stable-diffusion-v1-5", small, variant="fp16")
    write_folder(tmp_path / "stable-diffusion-xl-base-1.0", golden("xl"), variant="fp16")
    write_weights(tmp_path, "fine-tune", single_file(small))
    (tmp_path / "mine").mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (16, 24, 3), dtype="uint8")
        Image.fromarray(pixels).save(tmp_path / "mine" / f"cat-{index:02}.png")
        (tmp_path / "mine" / f"cat-{index:02}.txt").write_text("a cat")
    monkeypatch.setattr("latentdiff.convert.diffusers.local_folder", from_hub)
    return tmp_path


def from_hub(source, variant):
    return str(source).replace("hf://", "hub/")


def is_missing(words):
    needed = [module for word, modules in NEEDS.items() if word in words for module in modules]
    return [module for module in needed if importlib.util.find_spec(module) is None]


def run(words):
    """Runs a command at the size of the tiny model, with a server in front of the exported one where it asks one."""
    words = [SIDE if words[place - 1] == "--image-size" else word for place, word in enumerate(words)]
    if "--server" not in words:
        return cli.main(words)
    from export.saved_model.serving_double import ServingDouble

    double = ServingDouble(Path("models") / words[words.index("--preset") + 1])
    try:
        return cli.main([word.replace("localhost:8500", f"localhost:{double.port}") for word in words])
    finally:
        double.stop()


def output(words):
    """The path that a command names, or the file that `generate` chose."""
    if "--output" in words:
        return Path(words[words.index("--output") + 1])
    return max(Path().glob("*.png"), key=lambda path: path.stat().st_mtime_ns)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The prompt .* was cut")
def test_commands_run_as_they_are_typed(here, capfd):
    typed = [words for block in blocks(PAGE.read_text(encoding="utf-8")) for words in commands(block)]
    typed = [words[1:] for words in typed if words[0] == "latentdiff" and not is_missing(words)]
    for words in typed:
        assert run(words) == 0, f"{' '.join(words)}: {capfd.readouterr().err}"
        if words[0] not in ("info", "export"):
            assert output(words).exists(), " ".join(words)
    assert_images_are_those_of_the_model(here)
    assert json.loads((here / "sd15-diffusers" / "model_index.json").read_text())["_class_name"]


def assert_images_are_those_of_the_model(here):
    """The first image of the page, the one of an adapter, and the one that a server made with it."""
    model = TextToImage.from_diffusers(here / "stable-diffusion-v1-5")
    assert (
        gap(load_picture(here / "apple.png", int(SIDE)), model.generate("a red apple on a wooden table", seed=7))
        <= LEVELS
    )
    prompts, seeds = ["a cat on a wooden table"] * 2, [int(read_settings(here / "cat.png")["seed"]), 7]
    plain = model.generate(prompts, seed=seeds)
    model.load_lora(here / "runs" / "mine" / "lora.safetensors", 0.8)
    adapted = model.generate(prompts, seed=seeds)
    assert gap(adapted, plain) > 5
    assert gap(load_picture(here / "cat.png", int(SIDE)), adapted[0]) <= LEVELS
    served = here / "a-cat-on-a-wooden-table-seed-7.png"
    if not is_missing(["--server"]):
        assert (
            read_settings(served)["server"].startswith("localhost")
            and gap(load_picture(served, int(SIDE)), adapted[1]) <= LEVELS
        )
