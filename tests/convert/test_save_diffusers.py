import json

import numpy as np
import pytest
from convert.tiny_folders import files, golden, tensors, write_folder
from safetensors.numpy import load_file

from latentdiff import TextToImage, cli

VERSIONS = ("sd1", "sd2", "xl")


@pytest.fixture(scope="module", params=VERSIONS)
def exported(request, tmp_path_factory):
    """The golden answers of a version, its pipeline, and the folder that is written of it."""
    base, answers = tmp_path_factory.mktemp(request.param), golden(request.param)
    pipeline = TextToImage.from_diffusers(write_folder(base / "in", answers))
    pipeline.export_diffusers(base / "out")
    return answers, pipeline, base / "out"


def test_the_same_tensors(exported):
    answers, _, folder = exported
    for part, stem in files(answers).items():
        received = load_file(folder / part / f"{stem}.safetensors")
        expected = tensors(answers, part)
        assert received.keys() == expected.keys()
        for name, values in expected.items():
            assert received[name].dtype == "float32"
            np.testing.assert_array_equal(received[name], values, err_msg=name)


def test_the_same_settings(exported):
    """What diffusers and transformers wrote of these networks; a number for all levels may be repeated."""
    answers, _, folder = exported
    for part in files(answers):
        received = json.loads((folder / part / "config.json").read_text())
        expected = json.loads(answers[f"{part}/config"])
        levels = len(expected.get("block_out_channels", ()))
        for name, value in received.items():
            if name not in ("_class_name", "architectures", "pad_token_id", "scaling_factor", "sample_size"):
                wanted = expected[name]
                repeated = isinstance(value, list) and not isinstance(wanted, list)
                assert value == ([wanted] * levels if repeated else wanted), (part, name)
        if part == "vae":
            assert received["scaling_factor"] == pytest.approx(expected["scaling_factor"])


def test_opened_again(exported):
    _, pipeline, folder = exported
    again = TextToImage.from_diffusers(folder)
    assert again.defaults == pipeline.defaults
    assert again.model.noise_schedule.get_config() == pipeline.model.noise_schedule.get_config()
    assert again.model.prediction_type == pipeline.model.prediction_type
    for mine, other in zip(again.model.autoencoder.weights, pipeline.model.autoencoder.weights, strict=True):
        np.testing.assert_array_equal(mine, other)
    prompts = ["it's 2024", ""]
    expected = pipeline.model.text_encoder.tokenize(prompts)
    np.testing.assert_array_equal(again.model.text_encoder.tokenize(prompts), expected)


def test_half_precision(exported, tmp_path):
    answers, pipeline, _ = exported
    pipeline.export_diffusers(tmp_path / "half", float16=True)
    received = load_file(tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors")
    for name, values in tensors(answers, "unet").items():
        np.testing.assert_array_equal(received[name], values.astype("float16"))


def test_models_that_diffusers_does_not_have(exported, tmp_path, pipeline):
    _, other, _ = exported
    with pytest.raises(ValueError, match="`model` must have a CLIPTextEncoder or ClipPair for diffusers. "):
        pipeline.export_diffusers(tmp_path / "out")
    changed = TextToImage(other.model, image_size=(16, 16), sampler={"name": "ddim", "spacing": "leading"})
    with pytest.raises(ValueError, match="`sampler` one of .*'ddim'.*but 'leading'"):
        changed.export_diffusers(tmp_path / "out")
    other.model.text_encoder.mask_padding = True
    try:
        with pytest.raises(ValueError, match="`mask_padding` of the TextEncoder must be False for diffusers"):
            other.export_diffusers(tmp_path / "out")
    finally:
        other.model.text_encoder.mask_padding = False
    assert not (tmp_path / "out").exists()


def test_command(exported, tmp_path, monkeypatch, capsys):
    from latentdiff.commands import preset

    _, pipeline, _ = exported
    monkeypatch.setattr(preset, "open_preset", lambda name: pipeline)
    words = ["export", "diffusers", "emoji-128", "--output", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert (tmp_path / "out" / "model_index.json").is_file()
    assert cli.main(words) == 2
    assert "is there already" in capsys.readouterr().err
