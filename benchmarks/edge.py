"""Times one call of a preset's U-Net, guided (batch 2), in LiteRT and in its peers, and whole images on the edge.

    python benchmarks/edge.py --work DIR [--preset P] [--threads 2] [--torch PYTHON] [--edge PYTHON] [--rounds 15]

DIR keeps the exported folders and converted models of each preset for the next time. Needs onnxruntime, openvino, nncf,
onnx and tf2onnx beside the package; PYTHON are those of environments with torch and diffusers, and with what the README
of an exported folder asks for. All sides are timed in turn, round after round; medians are quoted. How far their
answers are from those of the TensorFlow graph is measured on the calls of real images, other than those that
OpenVINO's int8 is calibrated on.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin make their neighbours slow
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.preset_digest import preset_digest
from benchmarks.serving import Torch, start_torch
from latentdiff import TextToImage
from latentdiff.export.litert.litert import export_litert
from latentdiff.export.litert.quantization import QUANTIZATIONS

BATCH = 2
PROMPT = "a red apple, 3d"
CALIBRATION = ("a red apple, 3d", "police car, flat", "grinning cat, noto")
COMPARED = ("a blue car, flat", "smiling dog, 3d", "green tree, noto")
# Peak memory in MB, in the measured programs. What getrusage tells of a child begins at the size of its parent.
PEAK = "(lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024)()"


def example(text_to_image):
    """Inputs of one guided call."""
    rng = np.random.default_rng(0)
    text_encoder = text_to_image.model.text_encoder
    tokens = text_encoder.sequence_length
    return {
        "noisy_latents": rng.standard_normal((BATCH, *text_to_image.latent_shape)).astype("float32"),
        "timesteps": np.full(BATCH, 500.0, "float32"),
        "context": rng.standard_normal((BATCH, tokens, text_encoder.context_dim)).astype("float32"),
        "context_mask": np.ones((BATCH, tokens), "float32"),
    }


def unet_function(text_to_image, inputs):
    """The U-Net as a TensorFlow graph."""
    import tensorflow as tf

    unet = text_to_image.model.unet

    def predict(noisy_latents, timesteps, context, context_mask):
        values = {"noisy_latents": noisy_latents, "timesteps": timesteps, "context": context}
        return unet({**values, "context_mask": context_mask > 0.5})

    return tf.function(predict, [tf.TensorSpec(value.shape, value.dtype, name) for name, value in inputs.items()])


# === Sides: each a function of the inputs that makes one prediction ===


def tensorflow_side(function):
    import tensorflow as tf

    return lambda inputs: function(**{name: tf.constant(value) for name, value in inputs.items()}).numpy()


def litert_side(folder, threads):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(folder / "denoiser.tflite"), num_threads=threads).get_signature_runner()
    return lambda inputs: runner(**inputs)["prediction"]


def onnx_side(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def openvino_side(path, threads):
    import openvino

    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(str(path), "CPU", hints)
    return lambda inputs: compiled(inputs)[0]


def torch_side(python, unet, mode, threads):
    """diffusers' U-Net of the same shape in a process of its own, see `benchmarks/torch_unet.py`. It answers None."""
    process, _ = start_torch(python, unet, OMP_NUM_THREADS=str(threads))
    torch = Torch(process, mode)

    def call(inputs):
        torch.seconds(BATCH // 2, 1)

    return call


# === Converted models ===


def onnx_file(function, path):
    import tf2onnx

    if not path.exists():
        tf2onnx.convert.from_function(function, list(function.input_signature), opset=17, output_path=str(path))
    return path


def openvino_files(onnx, folder, capture):
    """float32 and int8 (post-training, calibrated on the inputs of real calls)."""
    import nncf
    import openvino

    paths = folder / "openvino.xml", folder / "openvino_int8.xml"
    if not paths[0].exists():
        openvino.save_model(openvino.convert_model(str(onnx)), str(paths[0]), compress_to_fp16=False)
    if not paths[1].exists():
        options = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.MIXED}
        model = openvino.Core().read_model(str(paths[0]))
        openvino.save_model(nncf.quantize(model, nncf.Dataset(capture()), **options), str(paths[1]))
    return paths


def capture_calls(folder, prompts, num_steps=10):
    """The inputs of the denoiser in a few images."""
    from latentdiff.runtimes.edge import EdgePipeline

    pipeline, calls = EdgePipeline(folder), []
    run = pipeline._run

    def recording(part, **values):
        if part == "denoiser":
            specs = pipeline.manifest["parts"][part]["inputs"].items()
            calls.append({name: np.resize(values[name], spec["shape"]) for name, spec in specs})
        return run(part, **values)

    pipeline._run = recording
    for seed, prompt in enumerate(prompts):
        pipeline.generate(prompt, seed=seed, num_steps=num_steps)
    return calls


# === Measuring ===


def interleaved(sides, inputs, rounds):
    """Of each side: milliseconds, a median with the least and the most, and median milliseconds of processor time.

    The processor time of this process counts all threads, and hardly depends on what else the computer does.
    """
    for side in sides.values():
        side(inputs)
        side(inputs)
    times = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start, busy = time.perf_counter(), time.process_time()
            side(inputs)
            times[name].append((1000.0 * (time.perf_counter() - start), 1000.0 * (time.process_time() - busy)))
    wall = {name: [one for one, _ in pairs] for name, pairs in times.items()}
    busy = {name: np.median([one for _, one in pairs]) for name, pairs in times.items()}
    return {name: (np.median(wall[name]), min(wall[name]), max(wall[name]), busy[name]) for name in sides}


def picture(python, folder, threads):
    """Seconds from the start of generate.py to its image, seconds of the image alone, and its peak memory in MB."""
    program = (
        "import time; start = time.perf_counter()\n"
        "from generate import EdgePipeline\n"
        f"pipeline = EdgePipeline('.', {threads}); pipeline.generate({PROMPT!r}, num_steps=20, seed=1)\n"
        "first = time.perf_counter() - start; start = time.perf_counter()\n"
        "pipeline.generate('a smiling cat, flat', num_steps=20, seed=2)\n"
        f"print(first, time.perf_counter() - start, {PEAK})"
    )
    done = subprocess.run([python, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def part_memory(python, folder, part, threads):
    """MB that a process grows by when it opens the file of a part and runs it once."""
    program = (
        "import json, numpy; from ai_edge_litert.interpreter import Interpreter\n"
        f"part = json.load(open('manifest.json'))['parts'][{part!r}]; before = {PEAK}\n"
        f"run = Interpreter(model_path=part['file'], num_threads={threads}).get_signature_runner()\n"
        "run(**{name: numpy.ones(one['shape'], one['dtype']) for name, one in part['inputs'].items()})\n"
        f"print({PEAK} - before)"
    )
    done = subprocess.run([python, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout)


def error(side, calls, expected):
    """Root mean square difference by that of what is expected: its mean over the calls; None if a side answers None."""
    if side(calls[0]) is None:
        return None
    pairs = [(side(inputs), other) for inputs, other in zip(calls, expected, strict=True)]
    return np.mean([np.sqrt(np.mean((one - other) ** 2) / np.mean(other**2)) for one, other in pairs])


def print_calls(sides, inputs, calls, rounds):
    """The table of single calls."""
    expected = [sides["TensorFlow graph"](call) for call in calls]
    times = interleaved(sides, inputs, rounds)
    print("| one guided call of the U-Net | ms, median | least | most | processor ms | off by |")
    print("|---|---|---|---|---|---|")
    for name, (median, least, most, busy) in times.items():
        off = error(sides[name], calls, expected)
        busy, off = ("", "") if off is None else (f"{busy:.1f}", f"{off:.1e}")  # None: the work of another process
        print(f"| {name} | {median:.1f} | {least:.1f} | {most:.1f} | {busy} | {off} |", flush=True)


def print_folders(python, folders, threads):
    """The tables of whole images and of parts."""
    print("\n| folder, images of 20 steps | MB | from start to first, s | next, s | peak memory, MB |")
    print("|---|---|---|---|---|")
    for name, folder in folders.items():
        first, again, peak = np.median([picture(python, folder, threads) for _ in range(3)], axis=0)
        size = sum(path.stat().st_size for path in folder.glob("*.tflite")) / 1e6
        print(f"| {name} | {size:.1f} | {first:.2f} | {again:.2f} | {peak:.0f} |", flush=True)
    print(f"\n| part: MB, and MB of memory | {' | '.join(folders)} |\n|---|{'---|' * len(folders)}")
    for part in ("text_encoder", "denoiser", "decoder", "encoder"):
        cells = [
            f"{(folder / f'{part}.tflite').stat().st_size / 1e6:.1f}, {part_memory(python, folder, part, threads):.0f}"
            for folder in folders.values()
        ]
        print(f"| {part} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="emoji-128")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--torch", help="Python with torch and diffusers")
    parser.add_argument("--edge", default=sys.executable, help="Python with what generate.py needs")
    args = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    work = args.work / preset_digest(args.preset)
    work.mkdir(parents=True, exist_ok=True)
    text_to_image = TextToImage.from_preset(args.preset)
    folders = {quantization: work / quantization for quantization in QUANTIZATIONS}
    for quantization, folder in folders.items():
        if not folder.exists():
            export_litert(text_to_image, folder, quantization)
    inputs = example(text_to_image)
    function = unet_function(text_to_image, inputs)
    onnx = onnx_file(function, work / "unet.onnx")
    openvino, openvino_int8 = openvino_files(onnx, work, lambda: capture_calls(folders["none"], CALIBRATION))
    sides = {"TensorFlow graph": tensorflow_side(function)}
    sides |= {f"LiteRT {name}": litert_side(folder, args.threads) for name, folder in folders.items()}
    sides["ONNX Runtime"] = onnx_side(onnx, args.threads)
    sides["OpenVINO float32"] = openvino_side(openvino, args.threads)
    sides["OpenVINO int8"] = openvino_side(openvino_int8, args.threads)
    if args.torch:
        for mode in ("eager", "frozen"):
            sides[f"PyTorch {mode}"] = torch_side(args.torch, text_to_image.model.unet, mode, args.threads)
    print_calls(sides, inputs, capture_calls(folders["none"], COMPARED), args.rounds)
    print_folders(args.edge, folders, args.threads)


if __name__ == "__main__":
    main()
