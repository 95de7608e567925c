"""Builds and runs `session_host.cc`, a program without Python that runs a SavedModel by TensorFlow's C library."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_suffix(".cc")
TYPES = {"float32": 1, "int32": 3, "uint8": 4, "bool": 10}  # of tensorflow/core/framework/types.proto
STRING = 7


def missing():
    """Why the program can't be built here, or None."""
    return None if shutil.which("g++") else "there is no g++"


def build(folder):
    """Compiles the program against the TensorFlow that Python has; returns its path."""
    import tensorflow as tf

    root = Path(tf.__file__).parent
    program = folder / "session_host"
    libraries = [str(root / name) for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")]
    flags = ["-std=c++17", "-O1", f"-I{tf.sysconfig.get_include()}", f"-Wl,-rpath,{root}"]
    subprocess.run(["g++", *flags, str(SOURCE), *libraries, "-o", str(program)], check=True)
    return program


def text_kernels():
    """The shared libraries of TF Text, which TF Serving has linked in."""
    import tensorflow_text

    return sorted(str(path) for path in (Path(tensorflow_text.__file__).parent / "python" / "ops").glob("*.so"))


def run(program, folder, signature, *requests, libraries=()):
    """The answer to each request in turn, outputs by name, `error` alone if it failed; for one request, its answer.

    Raises:
        RuntimeError: the program failed as a whole; with what it says.
    """
    answers, _ = _run(program, folder, signature, requests, libraries)
    return answers[0] if len(requests) == 1 else answers


def run_afresh(program, folder, signature, *requests, libraries=()):
    """As `run`, with the SavedModel loaded anew for each request: answers, and the resident megabytes after each."""
    answers, said = _run(program, folder, signature, requests, libraries, "afresh")
    return answers, [int(line) for line in said.decode().splitlines() if line.isdecimal()]


def _run(program, folder, signature, requests, libraries, *options):
    arguments = [str(program), str(folder), signature, ":".join(libraries) or "-", *options]
    tensors = [[_encode(name, values) for name, values in request.items()] for request in requests]
    stream = b"".join(b"".join([*of_request, b"\n"]) for of_request in tensors)
    done = subprocess.run(arguments, input=stream, capture_output=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr.decode()[-600:]}")
    answers = io.BytesIO(done.stdout)
    return [dict(_decode(answers)) for _ in requests], done.stderr


def _encode(name, values):
    values = np.asarray(values)
    texts = values.dtype.kind in "USO"
    number = STRING if texts else TYPES[values.dtype.name]
    head = " ".join(map(str, [name, number, values.ndim, *values.shape])).encode() + b"\n"
    if not texts:
        return head + values.tobytes()
    contents = [value.encode() if isinstance(value, str) else bytes(value) for value in values.ravel().tolist()]
    return head + b"".join(b"%d\n%s" % (len(content), content) for content in contents)


def _decode(stream):
    names = {number: name for name, number in TYPES.items()}
    while head := stream.readline().split():
        name, (number, _, *shape) = head[0].decode(), map(int, head[1:])
        count = int(np.prod(shape))
        if number == STRING:
            contents = [stream.read(int(stream.readline())) for _ in range(count)]
            yield name, np.array(contents, object).reshape(shape)
        else:
            dtype = np.dtype(names[number])
            yield name, np.frombuffer(stream.read(count * dtype.itemsize), dtype).reshape(shape)
