"""Mixed load on a server: errors, percentiles, memory.

    python -m benchmarks.serving_load --server localhost:8500 --model emoji-128 --seconds 600 --pid PID

Each client asks, waits and asks again: one to four images, each with its own prompt, seed, steps and guidance, and
now and then something malformed that the server must bound. Every tenth request is always the same, a canary; its
image must be too, whatever the neighbours in its batch are. `--pid` is the server's process, if it is on this
machine: its memory is watched.
"""

import argparse
import json
import random
import statistics
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from latentdiff.runtimes.client import Client

PROMPTS = ["a red apple, 3d", "a smiling cat, flat", "police car", "", "a rocket " * 60, "grüne Äpfel 🍏"]
STEPS = (1, 2, 4, 8, 8, 8, 20)
ODD = ({"num_steps": 0}, {"num_steps": -5}, {"guidance_scale": float("nan")}, {"guidance_scale": 1e9})
CANARY = {"prompts": "a red apple, 3d", "seed": 7, "num_steps": 4, "guidance_scale": 3.0}
LEVELS = 2


class Load:
    """What all clients together have seen."""

    def __init__(self, client, seconds):
        self.client = client
        self.until = time.monotonic() + seconds
        self.times, self.pictures, self.errors = [], 0, []
        self.canaries = self.malformed = self.warnings = 0
        self.canary = client.generate(**CANARY)
        self.lock = threading.Lock()

    def count_warning(self, *arguments):
        """Stands in for `warnings.showwarning`."""
        with self.lock:
            self.warnings += 1

    def run(self, seed):
        """One client's requests, until the time is over."""
        draws = random.Random(seed)
        number = 0
        while time.monotonic() < self.until:
            number += 1
            request = CANARY if number % 10 == 0 else make_request(draws)
            start = time.monotonic()
            try:
                pictures = self.client.generate(**request)
                if request is CANARY and np.abs(pictures.astype(int) - self.canary).max() > LEVELS:
                    raise ValueError("the same request got another image")
            except Exception as error:
                with self.lock:
                    self.errors.append(f"{type(error).__name__}: {error}"[:200])
                continue
            with self.lock:
                self.times.append(time.monotonic() - start)
                self.pictures += 1 if pictures.ndim == 3 else len(pictures)
                self.canaries += request is CANARY
                self.malformed += request is not CANARY and count_malformed(request)


def make_request(draws):
    count = draws.randint(1, 4)
    request = {
        "prompts": [draws.choice(PROMPTS) for _ in range(count)],
        "negative_prompts": [draws.choice(["", "black and white"]) for _ in range(count)],
        "seed": [draws.randrange(2**31) for _ in range(count)],
        "num_steps": [draws.choice(STEPS) for _ in range(count)],
        "guidance_scale": [draws.choice([1.0, 3.0, 7.5]) for _ in range(count)],
    }
    if draws.random() < 0.05:
        for name, value in draws.choice(ODD).items():
            request[name][0] = value
    return request


def count_malformed(request):
    """How many rows of a request have a value that the server must bound."""
    rows = zip(request["num_steps"], request["guidance_scale"], strict=True)
    return sum(steps < 1 or not 1 <= scale <= 1000 for steps, scale in rows)


def summary(load, samples):
    """What a `Load` has seen, and the memory of the server, as a dict.

    Args:
        load: the `Load`, after its clients are done.
        samples: list of megabytes over time, empty where nobody watched.
    """
    times = sorted(load.times)
    report = {"requests": len(times), "pictures": load.pictures, "errors": len(load.errors)}
    report |= {"canaries": load.canaries, "malformed_rows": load.malformed, "warnings": load.warnings}
    if times:
        report |= {f"p{share}": round(times[int(len(times) * share / 100)], 2) for share in (50, 90, 99)}
        report["longest"] = round(times[-1], 2)
    report["first_errors"] = load.errors[:3]
    if samples:
        fifth = max(len(samples) // 5, 1)
        report["memory_first_fifth"] = round(statistics.mean(samples[:fifth]))
        report["memory_last_fifth"] = round(statistics.mean(samples[-fifth:]))
        report["memory_every_tenth"] = [round(value) for value in samples[:: max(len(samples) // 10, 1)]]
    return report


def memory(pid):
    """Resident megabytes of a process, or None after its end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]  # none: nobody waited for it yet
    return kilobytes[0] / 1024 if kilobytes else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--model", default="emoji-128")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pid", type=int)
    args = parser.parse_args()
    if args.pid and memory(args.pid) is None:
        parser.error(f"--pid must be a running process. Received: {args.pid}")
    load = Load(Client(args.server, args.model, timeout=300.0), args.seconds)
    warnings.simplefilter("always")  # the server says what it bounds
    warnings.showwarning = load.count_warning
    threads = [threading.Thread(target=load.run, args=(seed,)) for seed in range(args.clients)]
    for thread in threads:
        thread.start()
    samples = []
    while any(thread.is_alive() for thread in threads):
        sample = memory(args.pid) if args.pid else None
        samples += [] if sample is None else [sample]
        time.sleep(min(5.0, args.seconds / 20))
    print(json.dumps(summary(load, samples), indent=2))


if __name__ == "__main__":
    main()
