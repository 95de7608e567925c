"""`--lora FILE:SCALE` of `latentdiff generate`, and of the exports."""

import json

import numpy as np
import pytest
from harness import randomize, tiny_text_to_image
from PIL import Image

from latentdiff import cli
from latentdiff.commands import preset as preset_command
from latentdiff.commands.lora import _file_and_scale
from latentdiff.convert.lora_files import save_lora


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A preset, two LoRA files for it, and its pipeline."""
    folder, pipeline = tmp_path_factory.mktemp("lora"), tiny_text_to_image()
    pipeline.save_to_preset(folder / "preset")
    for seed, name in enumerate(("one", "two")):
        randomize(pipeline.model.lora.add(name, rank=2, targets=("linear", "convolution")), seed)
        save_lora(folder / f"{name}.safetensors", pipeline.model, name)
        pipeline.unload_lora(name)
    return folder, pipeline


@pytest.fixture
def generate(files, tmp_path, monkeypatch):
    """Function (*options) -> (image, what is written in it), by `latentdiff generate` with the pipeline of `files`."""
    folder, pipeline = files
    monkeypatch.setattr(preset_command, "open_preset", lambda name: pipeline)

    def generate(*options, code=0):
        output = tmp_path / "apple.png"
        words = ["a red apple", "--seed", "7", "--preset", folder / "preset", "--output", output, *options]
        assert cli.main(["generate", *map(str, words)]) == code
        pipeline.unload_lora()
        if code == 0:
            image = Image.open(output)
            return np.asarray(image, "int32"), image.text

    return generate


@pytest.mark.slow
def test_adapters_add_up_and_are_recorded(files, generate):
    folder, pipeline = files
    one, two = folder / "one.safetensors", folder / "two.safetensors"
    image, text = generate("--lora", f"{one}:0.5", "--lora", two)
    pipeline.load_lora(one, 0.5)
    pipeline.load_lora(two)
    expected = pipeline.generate("a red apple", seed=7)
    pipeline.unload_lora()
    np.testing.assert_array_equal(image, expected)
    assert np.abs(image - generate()[0]).max() > 5
    assert f"{one}:0.5" in json.dumps(text) and f"{two}:1" in json.dumps(text)


@pytest.mark.parametrize(
    ("text", "file", "scale"),
    [("a.safetensors", "a.safetensors", 1.0), ("a:-0.5", "a", -0.5), ("C:/a", "C:/a", 1.0), ("a:b:2", "a:b", 2.0)],
)
def test_a_colon_counts_in_front_of_a_number(text, file, scale):
    assert _file_and_scale(text) == (type(_file_and_scale(text)[0])(file), scale)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nowhere:0.5", "--lora must be a file that exists. Received: nowhere"),
        ("a:nan", "finite number"),
        (":2", "FILE"),
    ],
)
def test_wrong_options_are_refused(files, option, message, capsys):
    try:
        code = cli.main(["generate", "a cat", "--preset", str(files[0] / "preset"), "--lora", option])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err


def test_a_damaged_file_is_one_line(generate, tmp_path, capsys):
    (tmp_path / "bad.safetensors").write_bytes(b"GIF89a" * 9)
    generate("--lora", tmp_path / "bad.safetensors", code=1)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "it is damaged, or no safetensors file" in error and "bad.safetensors" in error


def test_a_server_takes_none(files, capsys):
    words = ["generate", "a cat", "--server", "localhost:1", "--lora", str(files[0] / "one.safetensors")]
    assert cli.main(words) == 2
    assert "--server can't be combined with --lora" in capsys.readouterr().err


# === --textual-inversion ===


def test_a_word_is_known_and_recorded(files, generate, tmp_path):
    from latentdiff.convert.textual_inversion import save_textual_inversion

    pipeline = files[1]
    words = pipeline.model.text_encoder.words
    words.insert("red", np.full((2, words.dim), 0.5))
    save_textual_inversion(tmp_path / "red.safetensors", pipeline.model, "red")
    expected = pipeline.generate("a red apple", seed=7)
    words.clear()
    image, text = generate("--textual-inversion", tmp_path / "red.safetensors")
    words.clear()
    np.testing.assert_array_equal(image, expected)
    assert str(tmp_path / "red.safetensors") in json.dumps(text)
    generate("--textual-inversion", tmp_path / "nowhere", code=2)
