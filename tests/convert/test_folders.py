import json

import pytest

from latentdiff.convert.folders import weight_files


def touch(folder, *names):
    for name in names:
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("variant", [None, "fp16", "non_ema"])
def test_the_variant_that_is_asked_for(tmp_path, variant):
    touch(tmp_path, "model.safetensors", "model.fp16.safetensors", "model.non_ema.safetensors", "config.json")
    (path,) = weight_files(tmp_path, variant)
    assert path.name == (f"model.{variant}.safetensors" if variant else "model.safetensors")


def test_the_only_variant_needs_no_name(tmp_path):
    (path,) = weight_files(touch(tmp_path, "model.fp16.safetensors"))
    assert path.name == "model.fp16.safetensors"


@pytest.mark.parametrize(
    "index",
    ["diffusion_pytorch_model.safetensors.index.fp16.json", "diffusion_pytorch_model.fp16.safetensors.index.json"],
)
def test_both_names_of_an_index(tmp_path, index):
    shards = [f"diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors" for number in (1, 2)]
    touch(tmp_path, *shards)
    (tmp_path / index).write_text(json.dumps({"weight_map": {"a": shards[1], "b": shards[0], "c": shards[0]}}))
    assert [path.name for path in weight_files(tmp_path, "fp16")] == shards


@pytest.mark.parametrize(
    "names, variant, message",
    [
        (["model.fp16.safetensors", "model.ema.safetensors"], None, r"`variant` must be one of \['ema', 'fp16'\] for"),
        (["model.safetensors"], "fp16", r"`variant` must be one of \[None\] for .*variant='fp16'"),
        (["model.bin"], None, "pickled ones may run code .*save_pretrained.*Received: model.bin"),
        (["model-00001-of-00002.safetensors"], None, "holds no .safetensors file"),
        ([], None, "The folder is incomplete"),
    ],
)
def test_no_such_files(tmp_path, names, variant, message):
    with pytest.raises(ValueError, match=message):
        weight_files(touch(tmp_path, *names), variant)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "gone.safetensors", "..", "", 3])
def test_an_index_stays_in_its_folder(tmp_path, name):
    touch(tmp_path.parent, "secret.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match="must name files beside it"):
        weight_files(tmp_path)
