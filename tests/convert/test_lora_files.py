import json

import numpy as np
import pytest
from golden import weights
from harness import (
    GOLDEN,
    arrays,
    assert_close,
    normal,
    randomize,
    tiny_autoencoder,
    tiny_dit,
    tiny_latent_diffusion,
    tiny_text_encoder,
)
from safetensors.numpy import load_file, save_file

from latentdiff import LatentDiffusion, UNet
from latentdiff.convert import lora_files, names
from latentdiff.convert.lora_files import load_lora, save_lora
from latentdiff.convert.lora_names import layer_names
from latentdiff.models.layers.adapted import kernel_matrix_shape

EVERYTHING = {"targets": ("linear", "convolution"), "parts": ("unet", "text_encoder")}
HEADS = {"sd15": {"num_heads": 4}, "sd21": {"num_heads": (2, 4, 8), "linear_projection": True}}


@pytest.fixture
def path(tmp_path, plain):
    """A file with an adapter of the shared model."""
    randomize(plain.lora.add(rank=2, alpha=3.0, **EVERYTHING))
    save_lora(tmp_path / "style.safetensors", plain)
    plain.lora.clear()
    return tmp_path / "style.safetensors"


# === Golden ===


@pytest.fixture(scope="module", params=["sd15", "sd21"])
def golden(request):
    """The U-Net of Stable Diffusion in small with the weights of diffusers', and what was recorded there."""
    with np.load(GOLDEN / "networks.npz") as inputs, np.load(GOLDEN / "lora.npz") as file:
        recorded = {**inputs, **{name.removeprefix(f"{request.param}_"): values for name, values in file.items()}}
    unet = UNet((8, 16, 4), 12, None, (16, 32, 32), 2, (0, 1), groups=8, **HEADS[request.param])
    weights.fill(unet, lambda path: names.unet_name(path, levels=3))
    return LatentDiffusion(tiny_autoencoder(latent_channels=4), tiny_text_encoder(), unet), recorded


def predict(model, recorded):
    inputs = {name: recorded[name] for name in ("noisy_latents", "timesteps", "context")}
    return arrays(model.network({**inputs, "context_mask": recorded["context_mask"] > 0}))


def recorded_file(recorded, layout):
    """Tensors and metadata of the file that diffusers wrote, by keys and the rule of `weights.make`."""
    keys, metadata = json.loads(str(recorded["files"]))[layout]
    shapes = json.loads(str(recorded["shapes"]))
    plain = {}
    for name, shape in shapes.items():
        role = "down" if ".lora_A." in name else "up"
        layer = name.split(".lora_")[0]
        plain[layer, role] = plain[f"lora_{layer.replace('.', '_')}", role] = weights.make(name, shape)
    tensors = {}
    for key in keys:
        layer = key.split(".lora" if ".lora" in key else ".alpha")[0]
        if key.endswith(".alpha"):  # diffusers writes the rank
            tensors[key] = np.array(len(plain[layer, "down"]), "float32")
        else:
            tensors[key] = plain[layer, "down" if key.endswith(("down.weight", "lora_A.weight")) else "up"]
    return tensors, metadata


@pytest.mark.parametrize(("layout", "expected"), [("peft", "prediction"), ("older", "unscaled"), ("kohya", "unscaled")])
def test_files_of_diffusers_do_what_they_do_there(golden, layout, expected, tmp_path):
    """Ranks and alphas by layer, linear layers and convolutions, at scale 0.75, compared with `fuse_lora`."""
    model, recorded = golden
    before = predict(model, recorded)
    tensors, metadata = recorded_file(recorded, layout)
    save_file(tensors, tmp_path / "style.safetensors", metadata or None)
    name = load_lora(tmp_path / "style.safetensors", model, scale=0.75)
    assert name == "style" and len(model.lora[name].ranks) == len(json.loads(str(recorded["shapes"]))) // 2
    difference = np.abs(recorded[expected] - before).max()
    np.testing.assert_allclose(predict(model, recorded), recorded[expected], atol=1e-4)
    model.lora.merge()
    np.testing.assert_allclose(predict(model, recorded), recorded[expected], atol=1e-4)
    assert difference > 0.1
    weights.fill(model.unet, lambda path: names.unet_name(path, levels=3))


def test_a_clip_text_encoder_has_the_names_and_layout_of_transformers(plain, monkeypatch):
    """Kernels change as W + B A does in PyTorch, where query kernels have one axis for all heads."""
    import keras_hub

    clip = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=49,
        embedding_dim=12,
        hidden_dim=12,
        num_layers=1,
        num_heads=2,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    monkeypatch.setattr(plain.text_encoder, "sequence_model", clip)
    sizes = {"self_attn.q_proj": (12, 12), "self_attn.out_proj": (12, 12), "mlp.fc1": (16, 12), "mlp.fc2": (12, 16)}
    tensors = {}
    for index, (name, (out, into)) in enumerate(sizes.items()):
        layer = f"text_encoder.text_model.encoder.layers.0.{name}"
        tensors |= {f"{layer}.lora_A.weight": normal(index, 2, into), f"{layer}.lora_B.weight": normal(9, out, 2)}
    matrices, alphas = lora_files.parse_lora(tensors, {}, lora_files.known_names(plain))
    plain.lora.insert("text", matrices, alphas)
    layers = plain.lora.layers()
    paths = {name: path for path, name in layer_names(plain).items()}
    for name, (out, into) in sizes.items():
        layer = f"text_encoder.text_model.encoder.layers.0.{name}"
        kernel = layers[paths[layer]]
        change = arrays(kernel.kernel) - arrays(kernel._kernel)
        expected = (tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"]).T
        np.testing.assert_allclose(change.reshape(into, out), expected, atol=1e-5)
    plain.lora.clear()  # before the text encoder is put back


# === Contract ===


@pytest.mark.parametrize("layout", lora_files.LAYOUTS)
@pytest.mark.parametrize("network", [None, tiny_dit], ids=["unet", "dit"])
def test_what_is_written_is_read_again(network, layout, plain, tmp_path):
    """Also those of networks for which diffusers has no names."""
    model = plain if network is None else tiny_latent_diffusion(unet=network())
    lora = randomize(model.lora.add("one", rank=2, alpha=3.0, **EVERYTHING))
    save_lora(tmp_path / "my style.safetensors", model, "one", layout)
    assert load_lora(tmp_path / "my style.safetensors", model, 0.5) == "my_style"
    assert load_lora(tmp_path / "my style.safetensors", model) == "my_style-2"
    loaded = model.lora["my_style"]
    assert (loaded.ranks, loaded.alphas, float(loaded.scale)) == (lora.ranks, lora.alphas, 0.5)
    assert not loaded.trainable
    assert_close(list(loaded.matrices.values()), list(lora.matrices.values()), 0.0)


def test_half_precision_is_half_the_size(plain, path):
    plain.lora.add("one", rank=8)
    randomize(plain.lora["one"])
    sizes = []
    for dtype in lora_files.DTYPES:
        save_lora(path, plain, "one", dtype=dtype)
        sizes.append(sum(values.nbytes for values in load_file(path).values()))
    assert sizes[1] == sizes[0] / 2
    loaded = plain.lora[load_lora(path, plain)]
    assert_close(list(loaded.matrices.values()), list(plain.lora["one"].matrices.values()), 1e-3)


def test_ranks_and_alphas_by_layer_survive_both_layouts(plain, tmp_path):
    layers = list(plain.lora.layers(("unet",)))[:3]
    shapes = [kernel_matrix_shape(plain.lora.layers()[path]) for path in layers]
    matrices = {
        path: (normal(rank, rows, rank), normal(rank, rank, columns))
        for rank, (path, (rows, columns)) in enumerate(zip(layers, shapes, strict=True), 1)
    }
    lora = plain.lora.insert("one", matrices, dict(zip(layers, (4.0, 2.0, 2.0), strict=True)))
    for layout in lora_files.LAYOUTS:
        save_lora(tmp_path / f"{layout}.safetensors", plain, "one", layout)
        loaded = plain.lora[load_lora(tmp_path / f"{layout}.safetensors", plain)]
        assert (loaded.ranks, loaded.alphas) == (lora.ranks, lora.alphas)


def test_alpha_of_none_or_zero_is_the_rank_and_of_rank_stabilised_files_grows(plain):
    known = lora_files.known_names(plain)
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    tensors = {f"{layer}.lora_A.weight": normal(0, 4, 8), f"{layer}.lora_B.weight": normal(1, 8, 4)}

    def alpha(more=None, **settings):
        metadata = {lora_files.METADATA: json.dumps({f"unet.{name}": value for name, value in settings.items()})}
        (value,) = lora_files.parse_lora({**tensors, **(more or {})}, metadata, known)[1].values()
        return value

    assert alpha() == 4.0
    assert alpha({f"{layer}.alpha": np.array(0.0)}) == 4.0
    assert alpha({f"{layer}.alpha": np.array(2.0)}) == 2.0
    assert alpha(lora_alpha=8, use_rslora=True) == 16.0  # alpha / sqrt(rank) = 4 = 16 / rank
    assert alpha(lora_alpha=8, alpha_pattern={"attn1.to_q": 3, "to_k": 5}) == 3.0


def test_older_keys_of_diffusers_are_known():
    assert lora_files._parse("unet.a.attn1.processor.to_out_lora.down.weight") == ("unet.a.attn1.to_out.0", "down")
    assert lora_files._parse("unet.a.attn1.to_q.lora.up.weight") == ("unet.a.attn1.to_q", "up")
    assert lora_files._parse("text_encoder.b.q_proj.lora_linear_layer.down.weight") == ("text_encoder.b.q_proj", "down")
    assert lora_files._parse("unet.a.proj_in.lora_A.default_0.weight") == ("unet.a.proj_in", "down")


# === Errors ===


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("lora_unet_x.dora_scale", "DoRA"),
        ("lora_unet_x.hada_w1_a", "LoHa"),
        ("lora_unet_x.lokr_w1", "LoKr"),
        ("lora_unet_x.diff", "full differences"),
        ("lora_unet_x.diff_b", "full differences"),
        ("lora_unet_x.lora_mid.weight", "Tucker"),
    ],
)
def test_other_kinds_are_refused_by_name(plain, path, key, kind):
    save_file({**load_file(path), key: normal(0, 2, 2)}, path)
    with pytest.raises(ValueError, match=f"it holds .*{kind}.* \\({key}\\), which is not supported. Received: path="):
        load_lora(path, plain)
    assert not len(plain.lora)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, first: {**t, "unet.far.away.lora_A.weight": t[first]}, "no layers for unet.far.away.lora_A.weight"),
        (lambda t, first: {k: v for k, v in t.items() if k != first}, "lacks its down matrix"),
        (lambda t, first: {**t, first: t[first][:1]}, "don't belong together"),
        (lambda t, first: {**t, first: t[first][:, 1:]}, r"must be \(\d+, rank\)"),
        (lambda t, first: {**t, first: np.full_like(t[first], np.nan)}, "not finite"),
        (lambda t, first: {**t, first: t[first].ravel()}, "don't belong together"),
        (lambda t, first: {}, "it holds no matrices"),
    ],
)
def test_files_for_other_models_and_damaged_ones_are_refused(plain, path, change, message):
    tensors = load_file(path)
    first = next(key for key in sorted(tensors) if key.endswith("lora_A.weight"))
    save_file({key: np.ascontiguousarray(value) for key, value in change(tensors, first).items()}, path)
    with pytest.raises(ValueError, match=message):
        load_lora(path, plain)
    assert not len(plain.lora)


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:100], lambda b: b"", lambda b: b"\xff" * 64])
def test_truncated_and_hostile_files_are_refused_in_one_line(plain, path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="it is damaged, or no safetensors file") as error:
        load_lora(path, plain)
    assert "\n" not in str(error.value)


def test_metadata_that_is_no_json_or_says_dora_is_refused(plain, path):
    for text, message in [("[1", "no JSON object"), ("[]", "no JSON object"), ('{"unet.use_dora": true}', "DoRA")]:
        save_file(load_file(path), path, {lora_files.METADATA: text})
        with pytest.raises(ValueError, match=message):
            load_lora(path, plain)
    with pytest.raises(OSError, match="nowhere"):
        load_lora(path.with_name("nowhere"), plain)
    with pytest.raises(ValueError, match="`layout` must be one of"):
        save_lora(path, plain, layout="webui")
    with pytest.raises(ValueError, match="`scale` must be a finite number"):
        load_lora(path, plain, scale=float("nan"))
