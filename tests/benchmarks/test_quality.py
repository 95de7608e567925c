import json
import types

import numpy as np
import pytest
from keras import ops
from PIL import Image

from benchmarks import quality

LABELS = [f"thing {i}" for i in range(12)]
STYLES = ["flat", "3d", "outline"]


@pytest.fixture
def data(tmp_path):
    """A folder of 36 images: one coloured pattern for each thing, drawn on one background for each style."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    patterns, lines = rng.integers(0, 200, (len(LABELS), 4, 4, 3)), []
    for i, label in enumerate(LABELS):
        for j, style in enumerate(STYLES):
            picture = (patterns[i] + 20 * j).astype("uint8").repeat(8, 0).repeat(8, 1)
            name = f"{i:02}-{j}.png"
            Image.fromarray(picture).save(folder / name)
            record = {"file_name": name, "caption": f"{label}, {style}", "id": f"id{i}", "label": label, "style": style}
            lines.append(json.dumps(record | {"split": "validation" if (i + j) % 4 == 0 else "train"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def networks(monkeypatch):
    """Coarse pixels in place of the feature network, mean squares in place of LPIPS."""

    def features(images):
        n, size = images.shape[:2]
        return images.reshape(n, 4, size // 4, 4, size // 4, 3).mean((2, 4)).reshape(n, -1) - 128

    monkeypatch.setattr(quality, "FeatureCache", lambda weights, folder: features)
    monkeypatch.setattr(quality, "LPIPS", lambda path: lambda a, b: ops.mean(ops.square(a - b), axis=(1, 2, 3)))
    monkeypatch.setattr(quality, "NUM_TRAIN_PROMPTS", 20)
    monkeypatch.setattr(quality, "DIVERSITY", (3, 2))
    asked = quality.asks.Asked(["some thing, flat", "another, 3d"], [{"id0", "id1"}, {"id2"}], ["flat", "3d"])
    monkeypatch.setattr(quality.asks, "load_paraphrases", lambda ids, styles: asked)


class Oracle:
    """Answers each caption with its true image, and anything else with grey."""

    image_size = (32, 32)
    num_steps = 20
    guidance_scale = 4.0
    sampler = "ddim"

    def __init__(self, pictures, sampler=sampler):
        self.expected = (7, 4.0, sampler)
        self.known = dict(zip(pictures.captions, pictures.images, strict=True))
        self.model = types.SimpleNamespace(autoencoder=types.SimpleNamespace(encode=ops.copy, decode=ops.copy))

    def generate(self, prompts, seed, batch_size, num_steps, guidance_scale, sampler):
        assert len(seed) == len(prompts) and (num_steps, guidance_scale, sampler) == self.expected
        return np.stack([self.known.get(prompt, np.full((32, 32, 3), 128, "uint8")) for prompt in prompts])


def arguments(data, tmp_path, *more):
    common = ["--data", data, "--metrics", tmp_path, "--output", tmp_path / "out", "--image-size", 32]
    return quality.parse_arguments([str(value) for value in [*common, *more]])


def measured(tmp_path):
    return json.loads((tmp_path / "out" / "quality.json").read_text("utf-8"))


def test_every_part_with_an_oracle(data, tmp_path, networks):
    args = arguments(data, tmp_path, "--num-steps", 7)
    quality.run(args, Oracle(quality.load_images(data, 32)))
    content = measured(tmp_path)
    rows = {(row["prompts"], row["pictures"]): row for row in content["tables"]["pictures"]}
    for split in ("validation", "train"):
        assert rows[split, "generated"]["joint"] == rows[split, "real"]["joint"] == 1.0
        assert rows[split, "reconstructed"]["joint"] == 1.0
    assert rows["validation", "generated"]["number"] == 9
    assert rows["validation", "same emoji, other style"]["joint"] == 0.0
    assert rows["paraphrases", "generated"]["number"] == 2
    asked = {"num_steps": 7, "guidance_scale": 4.0, "sampler": "ddim"}
    assert content["settings"] == {"preset": None, **asked, "image_size": 32}
    assert content["facts"]["num_real"] == 27
    assert content["tables"]["reconstruction"][0]["lpips_mean"] < 1e-4
    assert content["tables"]["diversity"][1]["diversity"] == 0.0
    assert len(content["answers"]["compositions"]) == 40 and len(content["answers"]["validation"]) == 9
    sheets = {path.stem for path in (tmp_path / "out").glob("*.png")}
    assert sheets == {"autoencoder", "validation", "train", "paraphrases", "compositions", "diversity"}


def test_at_another_temperature(data, tmp_path, networks):
    oracle = Oracle(quality.load_images(data, 32), sampler={"name": "ddim", "temperature": 0.7})
    args = arguments(data, tmp_path, "--num-steps", 7, "--temperature", 0.7, "--limit", 2, "--only", "validation")
    quality.run(args, oracle)
    assert measured(tmp_path)["settings"]["sampler"] == {"name": "ddim", "temperature": 0.7}


def test_references_alone(data, tmp_path, networks):
    quality.run(arguments(data, tmp_path, "--limit", 5, "--only", "references", "--only", "validation"))
    content = measured(tmp_path)
    rows = content["tables"]["pictures"]
    assert {row["number"] for row in rows} == {5}
    assert {row["pictures"] for row in rows} == {"real", "half resolution", "blurred", "same emoji, other style"}
    assert not content["answers"] and not content["tables"]["diversity"]


def test_data_without_a_needed_column(data, tmp_path, networks):
    text = (data / "metadata.jsonl").read_text().replace('"style"', '"manner"')
    (data / "metadata.jsonl").write_text(text)
    with pytest.raises(ValueError, match="`data` must have a column 'style'.*manner"):
        quality.run(arguments(data, tmp_path))
