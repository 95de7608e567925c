"""Memory and rates of reading sets of any size: `python benchmarks/large_sets.py images --kind tar --output FILE.json`.

`images` makes a set of small images, reads batches of it by worker processes, and tells the memory that the processes
use beside the cache of the system. `latents` makes a cache of latents and draws batches from it as stage two does.
"""

import argparse
import io
import itertools
import json
import os
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from latentdiff.data.batch_reader import BatchReader
from latentdiff.data.captioned_images import open_rows
from latentdiff.data.image_rows import ImageRows
from latentdiff.data.images import ImageForm
from latentdiff.data.read_ahead import ReadAhead
from latentdiff.whole_files import write_text

LINKS = 10_000  # files of a folder that share one on the disk


def encoded(side, seed):
    """The bytes of a JPEG of noise that is smooth, as photographs are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), "uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def records(count, side):
    """Yields bytes of an image, and a caption, `count` times."""
    some = [encoded(side, seed) for seed in range(64)]
    return ((data, f"image {row}") for row, data in zip(range(count), itertools.cycle(some), strict=False))


# === Sets of each kind ===


def write_folder(folder, rows):
    """Files that share their bytes on the disk, which has room for few of them."""
    for row, (data, caption) in enumerate(rows):
        for suffix, content in ((".jpg", data), (".txt", caption.encode())):
            path, first = folder / f"{row:08}{suffix}", folder / f"{row // LINKS * LINKS:08}{suffix}"
            path.write_bytes(content) if row % LINKS == 0 else os.link(first, path)


def write_tar(folder, rows):
    with tarfile.open(folder / "0.tar", "w") as tar:
        for row, (data, caption) in enumerate(rows):
            for suffix, content in (("jpg", data), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{row:08}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                tar.members = []


def write_parquet(folder, rows):
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema({"image": pyarrow.binary(), "caption": pyarrow.string()})
    with parquet.ParquetWriter(folder / "0.parquet", schema, use_dictionary=False) as writer:  # as if none came twice
        while part := list(itertools.islice(rows, 1000)):
            table = {"image": [data for data, _ in part], "caption": [caption for _, caption in part]}
            writer.write_table(pyarrow.table(table, schema))


def write_array_record(folder, rows):
    import tensorflow as tf
    from array_record.python import array_record_module

    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    writer = array_record_module.ArrayRecordWriter(str(folder / "0.array_record"), "group_size:1")
    for data, caption in rows:
        features = tf.train.Features(feature={"image": feature(data), "caption": feature(caption.encode())})
        writer.write(tf.train.Example(features=features).SerializeToString())
    writer.close()


KINDS = {"folder": write_folder, "tar": write_tar, "parquet": write_parquet, "array_record": write_array_record}


# === Measuring ===


def anonymous_bytes():
    """Memory of this process and of its children that no file backs."""
    children = [child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()]
    total = 0
    for process in ["self", *children]:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return total


def measure_images(source, side, batch_size, num_batches, workers):
    """Opens a set, and reads batches of it in random order.

    Returns:
        dict of the number of images, seconds to open and to the first batch, images a second, and bytes of memory of
        all processes before and after.
    """
    before, start = anonymous_bytes(), time.perf_counter()
    images = ImageRows(open_rows(source), ImageForm(side))
    opened = time.perf_counter()
    reader = BatchReader({"images": images}, batch_size, permutation=images.permutation)
    ahead = ReadAhead(reader, workers)
    ahead[0]
    first = time.perf_counter()
    for place in range(1, num_batches):
        ahead[place]
    seconds = time.perf_counter() - first
    after = anonymous_bytes()
    ahead.close()
    return {
        "num_images": len(images),
        "seconds_to_open": opened - start,
        "seconds_to_first_batch": first - opened,
        "images_per_second": (num_batches - 1) * batch_size / seconds,
        "bytes_before": before,
        "bytes_after": after,
    }


def measure_latents(folder, num_latents, shape, batch_size, num_batches):
    """Writes a cache of latents, and draws batches of it as stage two does.

    Returns:
        dict of the number of latents, seconds to get ready, latents a second, and bytes of memory before and after.
    """
    from types import SimpleNamespace

    from latentdiff.data.batches import Batches
    from latentdiff.data.latent_cache import LatentCache, cache_key, load_latents
    from latentdiff.recipes.diffusion import drawing
    from latentdiff.recipes.experiment import Experiment

    values = SimpleNamespace(value=np.zeros(1, "float32"))
    autoencoder = SimpleNamespace(encoder=SimpleNamespace(variables=[]), latent_mean=values, latent_std=values)
    cache = LatentCache(folder, "train", num_latents, {"key": cache_key(autoencoder, (128, 128))})
    cache.begin()
    for shard, rows in cache.missing():
        latents = np.random.default_rng(shard).standard_normal((len(rows), 1, *shape), "float32")
        cache.write(shard, latents, None, [[{"caption": f"image {row}"}] for row in rows])
    tokenizer = SimpleNamespace(tokenize=lambda texts: np.zeros((len(texts), 32), "int32"))
    before, start = anonymous_bytes(), time.perf_counter()
    latents, told = load_latents(folder, "train", autoencoder)
    draw = drawing(latents, told, tokenizer, Experiment())
    batches = Batches({"rows": np.arange(num_latents)}, batch_size, transform=draw)
    ready = time.perf_counter()
    for index in range(num_batches):
        batches[index % len(batches)]
    seconds = time.perf_counter() - ready
    return {
        "num_latents": num_latents,
        "seconds_to_get_ready": ready - start,
        "latents_per_second": num_batches * batch_size / seconds,
        "bytes_before": before,
        "bytes_after": anonymous_bytes(),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["images", "latents"])
    parser.add_argument("--kind", choices=KINDS, default="tar", help="of the set of images")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="sizes of the sets")
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--shape", type=int, nargs=3, default=[16, 16, 8], help="of the latents")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--num-batches", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument("--folder", help="where the sets are made and removed again (default: that of the system)")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    args = parser.parse_args(argv)
    results = []
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            if args.what == "images":
                KINDS[args.kind](Path(folder), records(size, args.side))
                row = measure_images(folder, args.side, args.batch_size, args.num_batches, args.workers)
            else:
                row = measure_latents(Path(folder), size, args.shape, args.batch_size, args.num_batches)
        row = {"what": args.what, "kind": args.kind, **row}
        print(row, flush=True)
        results.append(row)
        write_text(args.output, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
