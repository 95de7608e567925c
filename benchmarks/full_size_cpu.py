"""Time and peak memory of the work with Stable Diffusion 1.5 at full size, on a CPU, one kind of work per call.

    python -m benchmarks.full_size_folder sd15-diffusers
    latentdiff import sd15-diffusers --float16 --output sd15
    python -m benchmarks.full_size_cpu generate sd15
    python -m benchmarks.full_size_cpu train sd15
    python -m benchmarks.full_size_cpu export sd15 --output sd15-served/1
    python -m benchmarks.full_size_cpu edge sd15 --quantization float16

Prints a line of JSON: seconds, CPU seconds of all threads, and the largest resident memory of the process.
"""

import argparse
import json
import resource
import time

import numpy as np

from latentdiff import TextToImage, cli
from latentdiff.models.memory import save_memory

STEPS = 2


def import_folder(preset, arguments):
    """`latentdiff import PRESET --float16 --output OUTPUT`."""
    cli.main(["import", preset, "--float16", "--output", arguments.output])


def generate(preset, arguments):
    """An image of 512 x 512 by `STEPS` guided steps, and the seconds of a further step."""
    pipeline, seconds = TextToImage.from_preset(preset), []
    for steps in (STEPS, 2 * STEPS):
        start, cpu = time.perf_counter(), time.process_time()
        image = pipeline.generate("a red apple", seed=7, num_steps=steps)
        seconds.append((time.perf_counter() - start, time.process_time() - cpu))
    wall, cpu = (np.subtract(*reversed(seconds)) / STEPS).tolist()
    return {"shape": list(image.shape), "seconds per step": wall, "CPU seconds per step": cpu}


def train(preset, arguments):
    """One training step of an adapter of rank 4 at 512 x 512, with gradient checkpointing and query chunks."""
    import keras

    model = TextToImage.from_preset(preset).model
    model.lora.add(rank=4)
    save_memory(model.network, gradient_checkpointing=True, query_chunk_size=512)
    model.compile(keras.optimizers.AdamW(1e-4), run_eagerly=True)
    latents = np.random.default_rng(0).standard_normal((1, 64, 64, 4), dtype="float32")
    history = model.fit({"latents": latents, "token_ids": model.text_encoder.tokenize(["a cat"])}, verbose=0)
    return {"loss": history.history["loss"][0]}


def export(preset, arguments):
    """The SavedModel, whose image is compared with that of Keras while it is exported."""
    TextToImage.from_preset(preset).export(arguments.output)


def edge(preset, arguments):
    """The U-Net alone as a LiteRT file, by the steps of an export, and its answer beside that of Keras."""
    from latentdiff.export.litert import file as litert_file
    from latentdiff.export.litert import half_precision, litert, parts, quantization

    pipeline = TextToImage.from_preset(preset)
    part = parts.parts(pipeline, 77, litert.ROWS, single_file=False)["denoiser"]
    inputs = litert._example(part.inputs, litert._example_texts(pipeline, 77))
    content = half_precision.bound_masks(litert_file.convert(part.function, part.models, part.inputs))
    half_precision.check_range(content, inputs)
    content = quantization.quantize(content, arguments.quantization)
    litert_file.check(content)
    written = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    expected, answer = part.function(**inputs)["prediction"], litert_file.run(content, inputs)["prediction"]
    error = float(litert.relative_error(answer, expected))
    return {"bytes": len(content), "relative error": error, "peak GB until it was written": written}


WORK = {"import": import_folder, "generate": generate, "train": train, "export": export, "edge": edge}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORK)
    parser.add_argument("preset", help="the preset, or the folder in diffusers' layout to import")
    parser.add_argument("--output")
    parser.add_argument("--quantization", default="float16")
    arguments = parser.parse_args(argv)
    start = time.perf_counter()
    found = WORK[arguments.work](arguments.preset, arguments) or {}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found |= {"seconds": time.perf_counter() - start, "CPU seconds": usage.ru_utime + usage.ru_stime}
    print(json.dumps({"work": arguments.work, **found, "peak GB": usage.ru_maxrss * 1024 / 1e9}))


if __name__ == "__main__":
    main()
