"""LoRA files: the layouts of diffusers (peft) and of kohya's scripts, which most programs read."""

import json
import math
import re
from pathlib import Path

import numpy as np
from keras import ops

from latentdiff.convert.lora_names import known_names, kohya_names, layer_names
from latentdiff.whole_files import write_bytes

LAYOUTS, DTYPES = ("diffusers", "kohya"), ("float32", "float16")
METADATA = "lora_adapter_metadata"  # of diffusers: the settings of peft, as JSON
# Kinds of adapters that are no sum of a kernel and a product of two matrices, by what their keys contain.
REFUSED = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoRA with a Tucker decomposition",
    "lora_B.bias": "LoRA with a bias",
    ".diff": "full differences of weights",
}
DOWN, UP = r"lora_A|lora_down|lora\.down|lora_linear_layer\.down", r"lora_B|lora_up|lora\.up|lora_linear_layer\.up"
KEYS = {
    "down": re.compile(rf"(.+)\.(?:{DOWN})(?:\.default(?:_\d+)?)?\.weight"),
    "up": re.compile(rf"(.+)\.(?:{UP})(?:\.default(?:_\d+)?)?\.weight"),
    "alpha": re.compile(r"(.+?)(?:\.lora)?\.alpha"),
}
OLDER = re.compile(r"(.+)\.processor\.(to_(?:q|k|v|out))_lora\.(down|up)\.weight")  # of diffusers 0.12 to 0.20


def load_lora(path, model, scale=1.0, name=None):
    """Adds the adapter in a LoRA file to a model.

    Args:
        path: a safetensors file in the layout of diffusers or of kohya's scripts.
        model: `LatentDiffusion`.
        scale: float, initial value of the adapter's `scale`; may be changed later, and be negative.
        name: that of the adapter; default: the name of the file without its ending, with a number if it is taken.

    Returns:
        The name.

    Raises:
        ValueError: no safetensors file, or a damaged one; adapters of another kind (DoRA, LoHa, LoKr, full
            differences); a layer that the model lacks, or matrices of other shapes than the model's.
        OSError: the file can't be read.
    """
    if not math.isfinite(scale):
        raise ValueError(f"`scale` must be a finite number. Received: {scale=}")
    name = _free_name(Path(path).stem, model) if name is None else name
    try:
        tensors, metadata = _read(path)
        matrices, alphas = parse_lora(tensors, metadata, known_names(model))
        model.lora.insert(name, matrices, alphas, scale)
    except ValueError as error:
        raise ValueError(f"`path` must be a LoRA file for this model: {error}. Received: path={str(path)!r}") from error
    return name


def save_lora(path, model, name="lora", layout="diffusers", dtype="float32"):
    """Writes an adapter of a model into a LoRA file, whole or not at all. Its `scale` is not written.

    Args:
        path: of the file, which should end in `.safetensors`.
        model: `LatentDiffusion`.
        name: that of the adapter.
        layout: "diffusers" or "kohya".
        dtype: "float32", or "float16" for half the bytes and 11 significant bits.

    Raises:
        ValueError: no adapter of this name, an unknown layout or dtype.
    """
    from safetensors.numpy import save

    for argument, value, known in (("layout", layout, LAYOUTS), ("dtype", dtype, DTYPES)):
        if value not in known:
            raise ValueError(f"`{argument}` must be one of {list(known)}. Received: {argument}={value!r}")
    lora, layers = model.lora[name], model.lora.layers()
    names = kohya_names(model) if layout == "kohya" else layer_names(model)
    tensors = {}
    for path_, (down, up) in lora.matrices.items():
        down, up = _to_torch(*map(ops.convert_to_numpy, (down, up)), tuple(layers[path_]._kernel.shape))
        if layout == "kohya":
            key = names[path_]
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            tensors[f"{key}.alpha"] = np.array(lora.alphas[path_], "float32")
        else:
            tensors |= {f"{names[path_]}.lora_A.weight": down, f"{names[path_]}.lora_B.weight": up}
    metadata = _kohya_metadata(lora) if layout == "kohya" else {METADATA: json.dumps(_peft_settings(lora, names))}
    tensors = {key: values.astype(dtype) for key, values in tensors.items()}
    write_bytes(path, save(tensors, {"format": "pt", **metadata}))


def parse_lora(tensors, metadata, names):
    """The matrices in the tensors of a LoRA file.

    Args:
        tensors: dict of key -> array in PyTorch's layout.
        metadata: dict of str -> str, that of the file.
        names: dict of the name of a layer -> its path, see `known_names`; matrices of layers without one are left out.

    Returns:
        matrices: dict of path -> (down (rows, rank), up (rank, columns)), float32.
        alphas: dict of path -> float.

    Raises:
        ValueError: as in `load_lora`.
    """
    found = _by_layer(tensors, names)
    settings = _settings(metadata)
    matrices, alphas = {}, {}
    for layer, values in found.items():
        if missing := {"down", "up"} - set(values):
            raise ValueError(f"{layer} lacks its {' and '.join(sorted(missing))} matrix")
        matrices[names[layer]] = down, up = _from_torch(layer, values["down"], values["up"])
        alphas[names[layer]] = _alpha(layer, values, settings, down.shape[1])
        if not all(np.isfinite(each).all() for each in (down, up)):
            raise ValueError(f"{layer} holds numbers that are not finite")
    return matrices, alphas


def _free_name(stem, model):
    taken, count = set(model.lora), 1
    name = stem = re.sub(r"[^\w.-]", "_", stem)
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    return name


def _read(path):
    """Tensors and metadata of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    open(path, "rb").close()  # an OSError says what is wrong, and names the file
    try:
        with safe_open(path, "numpy") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            return tensors, file.metadata() or {}
    except (SafetensorError, TypeError, AttributeError) as error:  # the last two: dtypes that numpy lacks
        raise ValueError(f"it is damaged, or no safetensors file ({error})") from error


def _by_layer(tensors, names):
    """dict of the name of a layer -> dict of `down`, `up` and perhaps `alpha`."""
    found, unknown = {}, []
    for key, values in tensors.items():
        if kind := next((kind for part, kind in REFUSED.items() if part in key), None):
            raise ValueError(f"it holds {kind} ({key}), which is not supported")
        layer, role = _parse(key)
        if layer not in names:
            unknown.append(key)
        elif names[layer] is not None:
            found.setdefault(layer, {})[role] = values
    if unknown:
        rest = f" and {len(unknown) - 3} others" if len(unknown) > 3 else ""
        raise ValueError(f"the model has no layers for {', '.join(unknown[:3])}{rest}")
    if not found:
        raise ValueError("it holds no matrices")
    return found


def _parse(key):
    """(name of the layer, "down", "up" or "alpha") of a key; (None, None) for another key."""
    if match := OLDER.fullmatch(key):
        attention, projection, role = match.groups()
        return f"{attention}.{projection}{'.0' * (projection == 'to_out')}", role
    for role, pattern in KEYS.items():
        if match := pattern.fullmatch(key):
            return match.group(1), role
    return None, None


def _settings(metadata):
    """The settings of peft in the metadata of a file, by part; empty where there are none."""
    try:
        settings = json.loads(metadata.get(METADATA, "{}"))
        parts = {}
        for key, value in settings.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"its metadata {METADATA} is no JSON object") from error
    if any(part.get("use_dora") for part in parts.values()):
        raise ValueError("it holds DoRA (use_dora in its metadata), which is not supported")
    return parts


def _alpha(layer, values, settings, rank):
    """The alpha of a layer: where the file says none, the rank."""
    part, _, module = layer.partition(".")
    if "alpha" in values:
        alpha = np.asarray(values["alpha"], "float32")
        if alpha.size != 1 or not math.isfinite(alpha.item()):
            raise ValueError(f"{layer}.alpha must be one finite number")
        return alpha.item() or float(rank)
    if "lora_alpha" not in settings.get(part, {}):
        return float(rank)
    given = settings[part]
    patterns = given.get("alpha_pattern") or {}
    matches = (value for pattern, value in patterns.items() if re.fullmatch(rf"(.*\.)?(?:{pattern})", module))
    alpha = float(next(matches, given["lora_alpha"]))
    return alpha * math.sqrt(rank) if given.get("use_rslora") else alpha


def _peft_settings(lora, names):
    """What diffusers reads beside the matrices: ranks and alphas, with patterns for those that are not the first."""
    settings = {}
    for path, rank in lora.ranks.items():
        part, _, module = names[path].partition(".")
        alpha = lora.alphas[path]
        first = {"r": rank, "lora_alpha": alpha, "rank_pattern": {}, "alpha_pattern": {}, "target_modules": []}
        given = settings.setdefault(part, first)
        given["target_modules"].append(module)
        if rank != given["r"]:
            given["rank_pattern"][module] = rank
        if alpha != given["lora_alpha"]:
            given["alpha_pattern"][module] = alpha
    return {f"{part}.{name}": value for part, given in settings.items() for name, value in given.items()}


def _kohya_metadata(lora):
    """What programs show of a file: the rank and alpha of its first layer."""
    rank, alpha = (next(iter(values.values())) for values in (lora.ranks, lora.alphas))
    return {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}


# === PyTorch's layout ===


def _from_torch(layer, down, up):
    """float32 (rows, rank) and (rank, columns) of (rank, in) and (out, rank), convolutions with height and width."""
    fits = down.ndim in (2, 3, 4, 5) and up.ndim in (2, down.ndim) and set(up.shape[2:]) <= {1}
    if not fits or down.shape[0] != up.shape[1]:
        raise ValueError(f"{layer} has matrices of shapes {down.shape} and {up.shape}, which don't belong together")
    rank = down.shape[0]
    rows = np.moveaxis(down, (0, 1), (-1, -2)).reshape(-1, rank)  # (height width in, rank)
    return rows.astype("float32"), up.reshape(-1, rank).T.astype("float32")


def _to_torch(down, up, kernel_shape):
    """The opposite of `_from_torch`; a kernel of rank four is one of a convolution."""
    rank, sizes = down.shape[1], kernel_shape[:-2] if len(kernel_shape) == 4 else ()
    down = np.moveaxis(down.reshape(*sizes, -1, rank), (-1, -2), (0, 1))  # (rank, in, height, width)
    up = up.T.reshape(-1, rank, *(1,) * len(sizes))  # (out, rank, 1, 1)
    return np.ascontiguousarray(down), np.ascontiguousarray(up)
