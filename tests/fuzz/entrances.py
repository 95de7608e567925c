"""What enters from outside, as functions of bytes or of values: each ends, or raises one of the documented errors.

`test_entrances.py` calls them with what hypothesis draws, `fuzz_entrances.py` with what atheris finds.
"""

import base64
import io
import json
import math
import struct
import tempfile
import types
from pathlib import Path

import numpy as np
from PIL import Image

from latentdiff.commands import UsageError, output
from latentdiff.commands.prompts import OPTIONS, read_request
from latentdiff.data.images import read_image
from latentdiff.data.sources import read_rows
from latentdiff.runtimes import client, edge
from latentdiff.settings import prompt_syntax, wire
from latentdiff.settings.request import Request
from latentdiff.settings.table import MAX_PROMPT_BYTES, SETTINGS

LONGEST = 20 * MAX_PROMPT_BYTES  # of a message; the command line shows its first 600 characters


def refused(function, *args, errors=(ValueError, UsageError), **kwargs):
    """(False, what `function` gives) or (True, None) where it raises a documented error with a message of one line."""
    try:
        return False, function(*args, **kwargs)
    except errors as error:
        message = str(error)
        assert message and "\n" not in message and len(message) < LONGEST, message[:500]
        return True, None


def prompt(text):
    """A prompt: its shares sum to 1, its weights are in bounds, and escaped it is plain text."""
    was_refused, parts = refused(prompt_syntax.parse, text)
    if not was_refused:
        assert math.isclose(sum(part.share for part in parts), 1.0)
        assert all(math.isfinite(weight) and weight >= 0 for part in parts for _, weight in part.pieces)
    escaped = prompt_syntax.escape(text)
    if len(escaped.encode("utf-8", "replace")) <= MAX_PROMPT_BYTES:
        (part,) = prompt_syntax.parse(escaped)
        assert part.text == text and not part.weighted and part.share == 1.0


def request(prompts, settings):
    """A request by Python: what is accepted is within the bounds of the table, in JSON and on the wire."""
    was_refused, made = refused(Request.build, prompts, **settings)
    if was_refused:
        return
    for name, row in SETTINGS.items():
        for value in made[name] if row.each else [made[name]]:
            assert value is None or row.check(value) == value
    records = [json.loads(json.dumps(made.record(index), allow_nan=False)) for index in range(len(made))]
    keys = {row.key: name for name, row in SETTINGS.items() if row.each}
    columns = {name: [record.get(key) for record in records] for key, name in keys.items()}
    again = Request.build(columns.pop("prompts"), **columns, sampler=made["sampler"])
    assert [again.record(index) for index in range(len(made))] == [made.record(index) for index in range(len(made))]
    was_refused, sent = refused(wire.to_wire, made)
    if not was_refused:
        body = json.loads(json.dumps(sent, allow_nan=False))
        assert {name: len(values) for name, values in body.items()} == dict.fromkeys(body, len(made))
        for row in wire.SERVED:
            np.asarray(body[row.wire], None if row.kind is str else row.dtype)


def prompts_file(content):
    """The file of --prompts-file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.json"
        path.write_bytes(content)
        options = {row.name: None for row in OPTIONS}
        args = types.SimpleNamespace(prompts=[], prompts_file=path, num_images=1, **options)
        was_refused, made = refused(read_request, args)
        assert was_refused or len(made) == len(json.loads(content.decode("utf-8-sig")))


def manifest(content):
    """The manifest of a folder of images."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / output.MANIFEST
        path.write_bytes(content)
        was_refused, entries = refused(output._read_manifest, path)
        assert was_refused or all(isinstance(entry, dict) and isinstance(key, str) for key, entry in entries.items())


def edge_manifest(content):
    """The manifest of a folder of LiteRT files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "manifest.json").write_bytes(content)
        refused(edge.read_manifest, Path(folder))


def metadata(content):
    """`metadata.jsonl` of a data folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(b"")
        (Path(folder) / "metadata.jsonl").write_bytes(content)
        was_refused, rows = refused(lambda: list(read_rows(folder)))
        assert was_refused or all(row.caption.strip() and row.image.is_file() for row in rows)


def caption_file(content):
    """A caption beside its image."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.png").write_bytes(b"")
        (Path(folder) / "a.txt").write_bytes(content)
        refused(lambda: list(read_rows(folder)))


def image(content):
    """An image file from outside."""
    was_refused, made = refused(read_image, content)
    assert was_refused or made.mode == "RGB"


def answer(content):
    """The answer of a server."""
    transport = client._Rest("http://localhost:1", "model")
    original, client._fetch = client._fetch, lambda request, timeout: content
    try:
        refused(transport.predict, {"seeds": [1]}, 10.0, errors=(OSError,))
    finally:
        client._fetch = original


def piece_list(content):
    """The list of a preset's pieces of weights."""
    from latentdiff.presets import weights

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / weights.PIECES_FILE).write_bytes(content)
        refused(_enter, weights._whole_file, Path(folder))


def task(content):
    """The settings of a preset."""
    from latentdiff.presets import preset

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / preset.TASK_FILE
        path.write_bytes(content)
        refused(preset._read_settings, path)


def config(value):
    """The config of a preset, as JSON gives it."""
    from latentdiff.presets.closed_list import check_config

    refused(check_config, value)


def weights_file(content):
    """An HDF5 file of weights."""
    from latentdiff.presets.hdf5 import check_plain

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        path.write_bytes(content)
        refused(check_plain, path, errors=(ValueError, OSError))


def tensors(content):
    """A `.safetensors` file of weights: what can be opened has shapes and finite sizes."""
    from latentdiff.convert.tensors import Tensors

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(content)
        was_refused, opened = refused(Tensors, [path])
        for name in () if was_refused else opened:
            was_refused, values = refused(opened.__getitem__, name)
            assert was_refused or (values.shape == opened.shape(name) and values.dtype == "float32")


def lora_file(content):
    """A LoRA file, for a model with one layer."""
    from latentdiff.convert import lora_files

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        path.write_bytes(content)
        was_refused, read = refused(lora_files._read, path)
        if not was_refused:
            was_refused, parsed = refused(lora_files.parse_lora, *read, {"unet.a": "a"})
            assert was_refused or set(parsed[0]) == set(parsed[1]) == {"a"}


def parameters(content):
    """The settings text in a PNG of another program."""
    from latentdiff.settings.parameters import from_parameters

    refused(from_parameters, content.decode("utf-8", "surrogateescape"))


def safetensors_file(names):
    """A small file of matrices of ones, (2, 2) each, to begin with."""
    places = {name: [16 * index, 16 * index + 16] for index, name in enumerate(names)}
    entries = {name: {"dtype": "F32", "shape": [2, 2], "data_offsets": place} for name, place in places.items()}
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    return struct.pack("<Q", len(header)) + header + np.ones(4 * len(names), "<f4").tobytes()


def _enter(manager, *args):
    with manager(*args):
        pass


def png():
    """A small PNG with text, to begin with."""
    buffer = io.BytesIO()
    Image.new("RGBA", (3, 2), (1, 2, 3, 4)).save(buffer, "PNG")
    return buffer.getvalue()


# Of bytes; with what a search begins.
OF_BYTES = {
    "prompt": (lambda content: prompt(content.decode("utf-8", "surrogateescape")), [b"(red:1.3) apple", b"a:1 | b:2"]),
    "prompts_file": (prompts_file, [b'["a", {"prompt": "(b:2)", "seed": 3, "guidance_interval": [0, 1e30]}]']),
    "manifest": (manifest, [b'[{"file": "a.png", "seed": 1}]']),
    "edge_manifest": (edge_manifest, [b'{"image_size": [8, 8], "settings": [{"name": "seed"}], "files": {}}']),
    "metadata": (metadata, [b'{"file_name": "a.png", "caption": "a cat", "split": "train", "tags": ["x"]}\n']),
    "caption_file": (caption_file, [b"a cat", "\ufeffcaf\xe9".encode()]),
    "image": (image, [png()]),
    "answer": (answer, [b'{"outputs": {"image_bytes": [{"b64": "%s"}], "warnings": [""]}}' % base64.b64encode(png())]),
    "piece_list": (piece_list, [b'{"pieces": [{"file": "model.weights.h5.000", "bytes": 1, "sha256": "ab"}]}']),
    "task": (task, [b'{"image_size": [8, 8], "sampler": {"name": "ddim", "eta": 0.5}, "guidance_interval": [0, 1]}']),
    "weights_file": (weights_file, [b"\x89HDF\r\n\x1a\n"]),
    "tensors": (tensors, [safetensors_file(["a", "b"])]),
    "lora_file": (lora_file, [safetensors_file(["unet.a.lora_A.weight", "unet.a.lora_B.weight"])]),
    "parameters": (
        parameters,
        [b'a (red:1.3) cat\nNegative prompt: "dog"\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 8x8'],
    ),
}
