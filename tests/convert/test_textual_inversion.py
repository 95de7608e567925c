import numpy as np
import pytest
from convert.tiny_folders import golden, write_folder
from harness import GOLDEN, arrays, first_fast, normal
from safetensors.numpy import load_file, save_file

from latentdiff import TextToImage
from latentdiff.convert.textual_inversion import load_textual_inversion, save_textual_inversion

WORDS = ("<glimp>", "<other>")


@pytest.fixture
def model(adaptable):
    yield adaptable
    adaptable.text_encoder.words.clear()


@pytest.mark.parametrize("version", first_fast(["sd1", "sd2"]))
def test_files_of_diffusers_say_what_they_say_there(version, tmp_path):
    with np.load(GOLDEN / "textual_inversion.npz") as file:
        recorded = {name: file[name] for name in file.files}
    pipeline = TextToImage.from_diffusers(write_folder(tmp_path / "folder", golden(version)))
    for word in WORDS:
        save_file({word: recorded[word]}, tmp_path / "word.safetensors")
        assert pipeline.load_textual_inversion(tmp_path / "word.safetensors") == word
    context, _ = pipeline.model.text_encoder.encode([str(prompt) for prompt in recorded["prompts"]])
    np.testing.assert_allclose(arrays(context), recorded[f"{version}/context"], atol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "word"),
    [
        ({"<x>": normal(0, 2, 12)}, "<x>"),
        ({"<x>": normal(0, 12)}, "<x>"),
        ({"emb_params": normal(0, 2, 12)}, "my-word"),
        ({"clip_l": normal(0, 2, 12), "clip_g": normal(1, 2, 20)}, "my-word"),
        ({"clip_l": normal(1, 2, 20), "clip_g": normal(0, 2, 12)}, "my-word"),
    ],
)
def test_all_layouts_are_read(model, tensors, word, tmp_path):
    save_file(tensors, tmp_path / "my-word.safetensors")
    assert load_textual_inversion(tmp_path / "my-word.safetensors", model) == word
    expected = next(values for values in tensors.values() if values.shape[-1] == 12)
    np.testing.assert_array_equal(arrays(model.text_encoder.words[word].vectors), np.atleast_2d(expected))
    assert not model.text_encoder.words[word].trainable
    assert load_textual_inversion(tmp_path / "my-word.safetensors", model, "other") == "other"


@pytest.mark.parametrize(("layout", "key"), [("diffusers", "<x>"), ("a1111", "emb_params"), ("xl", "clip_l")])
def test_all_layouts_are_written(model, layout, key, tmp_path):
    vectors = normal(0, 2, 12)
    model.text_encoder.words.insert("<x>", vectors)
    save_textual_inversion(tmp_path / "x.safetensors", model, "<x>", layout)
    (written,) = load_file(tmp_path / "x.safetensors").items()
    assert written[0] == key
    np.testing.assert_array_equal(written[1], vectors)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"<x>": normal(0, 2, 5)}, r"`vectors` must be finite numbers \(n, 12\)"),
        ({"<x>": normal(0, 1, 12), "<y>": normal(0, 1, 12)}, "it must hold one word"),
        ({"clip_l": normal(0, 1, 5)}, "it must hold one word of width 12"),
        ({"a(b": normal(0, 1, 12)}, "`text` must be a word without"),
        (None, "can't be read as a .safetensors file"),
    ],
)
def test_other_files_are_refused(model, tensors, message, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path) if tensors else path.write_bytes(b"GIF89a" * 9)
    with pytest.raises(ValueError, match=message):
        load_textual_inversion(path, model)
    with pytest.raises(ValueError, match="`layout` must be one of"):
        save_textual_inversion(path, model, "<x>", "any")
    assert not list(model.text_encoder.words)
