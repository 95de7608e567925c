"""Searches, guided by coverage, for bytes at which an entrance fails. Needs `pip install atheris`; no part of CI.

    PYTHONPATH=.:tests python tests/fuzz/fuzz_entrances.py prompts_file -max_total_time=600

The names are those of `entrances.OF_BYTES`; the other options are libFuzzer's. It ends at the first failure, with the
bytes in a file `crash-...`, which then become an example in `test_entrances.py`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["latentdiff", "json", "PIL"]):
    from fuzz import entrances


def main():
    """Fuzzes the entrance that the command line names."""
    name, *options = sys.argv[1:]
    entrance, seeds = entrances.OF_BYTES[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, "-rss_limit_mb=2000", *options], entrance)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
