import numpy as np
import pytest
from code_blocks import blocks, commands
from convert.tiny_folders import golden, write_folder
from golden.clip_words import PROMPT
from harness import GOLDEN

from latentdiff import TextToImage, cli

PAGE = GOLDEN.parents[1] / "docs" / "stable-diffusion.md"


def typed(name):
    """The words of the first command of this name on the page."""
    lines = [words for block in blocks(PAGE.read_text(encoding="utf-8")) for words in commands(block)]
    return next(words[1:] for words in lines if words[:2] == ["latentdiff", name])


@pytest.mark.slow
def test_import_as_it_is_typed(tmp_path, monkeypatch, capsys):
    """The command of the page makes a preset that answers as diffusers does."""
    monkeypatch.chdir(tmp_path)
    words, answers = typed("import"), golden("sd1")
    write_folder(tmp_path / words[1], answers)
    assert cli.main(words) == 0
    assert capsys.readouterr().out.strip() == words[words.index("--output") + 1]
    pipeline = TextToImage.from_preset(words[words.index("--output") + 1])
    model = pipeline.model
    np.testing.assert_array_equal(model.text_encoder.tokenize([PROMPT, ""]), answers["token_ids"])
    inputs = {name: answers[name] for name in ("noisy_latents", "timesteps", "context")}
    inputs["context_mask"] = np.array(model.text_encoder.mask(answers["token_ids"]))
    np.testing.assert_allclose(model.unet(inputs), answers["prediction"], atol=1e-4)
    np.testing.assert_allclose(model.autoencoder.decode(answers["latents"]), answers["decoded"], atol=1e-4)
    assert pipeline.defaults == {
        "image_size": (16, 16),
        "sampler": {"name": "dpmpp_2m", "spacing": "trailing"},
        "num_steps": 25,
        "guidance_scale": 7.5,
        "guidance_rescale": 0.0,
        "guidance_interval": None,
    }


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["nothing", "--output", "out"], 2, "SOURCE must be a folder, or hf://OWNER/NAME. Received: nothing"),
        ([".", "--output", "file"], 2, "--output must be a folder"),
        ([".", "--output", "out", "--weights-file", "gone"], 2, "--weights-file must be a .safetensors file"),
        ([".", "--output", "out", "--weights-file", "x.ckpt"], 2, "--weights-file must be a .safetensors file"),
        ([".", "--output", "out"], 1, "model_index.json is missing"),
        ([".", "--output", "out", "--clip-skip", "-1"], 2, "--clip-skip"),
    ],
)
def test_what_cannot_be_imported(tmp_path, monkeypatch, capsys, words, code, message):
    monkeypatch.chdir(tmp_path)
    for name in ("file", "x.ckpt"):
        (tmp_path / name).write_text("")
    try:
        received = cli.main(["import", *words])
    except SystemExit as stop:
        received = stop.code
    assert received == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
