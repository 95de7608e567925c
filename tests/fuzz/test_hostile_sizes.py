"""Files of hostile sizes are refused in bounded time and memory, each measured in a process of its own."""

import json
import struct
import subprocess
import sys
import zlib

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MEASURED = """
import sys, time
sys.path[:0] = ["."]
{imports}
def peak():
    with open("/proc/self/status") as file:  # not `getrusage`, which begins with the peak of the parent process
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))
before, start = peak(), time.process_time()
try:
    {call}
    error = "none"
except Exception as found:
    error = type(found).__name__ + ": " + str(found)[:300]
print(peak() - before, time.process_time() - start, error, sep="\\t")
"""


def measured(imports, call, *arguments):
    """(MB of memory, seconds of CPU, error) of a call in a fresh process; its arguments are `sys.argv`."""
    code = MEASURED.format(imports=imports, call=call)
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, seconds, error = done.stdout.strip().split("\t")
    print(f"{call}: {megabytes} MB, {float(seconds):.1f} s, {error}")
    return int(megabytes), float(seconds), error


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


READ_FILE = "from latentdiff.commands.prompts import _read_file"
READ_IMAGE = "from latentdiff.data.images import read_image"


@pytest.mark.slow
@pytest.mark.parametrize("side", [60_000, 13_000, 9_000])
def test_a_png_that_claims_to_be_huge(tmp_path, side):
    """Of 60,000 x 60,000 pixels Pillow reads the header only; of fewer it makes the image, whatever is in the file."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(data)
    megabytes, seconds, error = measured(READ_IMAGE, "read_image(sys.argv[1])", tmp_path / "huge.png")
    assert error.startswith("ValueError") and "huge.png can't be decoded" in error
    assert megabytes < 1200 and seconds < 10


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["prompts file", "preset"])
def test_json_of_100_megabytes(tmp_path, reader):
    with open(tmp_path / "huge.json", "w") as file:
        file.write("[" + ",".join(['"a"'] * 25_000_000) + "]")
    imports = READ_FILE if reader == "prompts file" else "from latentdiff.presets.preset import _read_json"
    imports += "\nfrom pathlib import Path"
    call = ("_read_file" if reader == "prompts file" else "_read_json") + "(Path(sys.argv[1]))"
    megabytes, seconds, error = measured(imports, call, tmp_path / "huge.json")
    assert "bytes" in error and error.startswith(("UsageError", "ValueError"))
    assert megabytes < 10 and seconds < 1


@pytest.mark.slow
def test_a_prompt_of_10_megabytes(tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps(["(" * 9_000_000]))
    megabytes, seconds, error = measured(READ_FILE, "_read_file(sys.argv[1])", tmp_path / "prompts.json")
    assert "`prompts` must have at most 10000 bytes" in error
    call = "Request.build('(a:2) ' * 1_700_000)"
    more, longer, error = measured("from latentdiff.settings.request import Request", call)
    assert "`prompts` must have at most 10000 bytes" in error
    assert max(megabytes, more) < 100 and max(seconds, longer) < 1


@pytest.mark.slow
def test_a_parquet_of_10_million_rows(tmp_path):
    """At 512 x 512 pixels they would take 7.9 TB; the reader stops where memory ends."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = pyarrow.table({"image": [b"x"] * 100_000, "caption": ["a cat"] * 100_000})
    with parquet.ParquetWriter(tmp_path / "huge.parquet", rows.schema) as writer:
        for _ in range(100):
            writer.write_table(rows)
    imports = "from latentdiff.data.captioned_images import load_images"
    megabytes, seconds, error = measured(imports, "load_images(sys.argv[1], 512)", tmp_path / "huge.parquet")
    assert "`source` must have images that fit into memory" in error
    assert megabytes < 500 and seconds < 60
