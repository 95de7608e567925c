"""Mixed load on a server: wrong answers, errors, percentiles, memory.

    python -m benchmarks.serving_load --model emoji-128 --base models/emoji-128 --seconds 1800 --clients 16 \\
        --swap-every 300 --kill-every 600 --server localhost:8500 -- SERVER_COMMAND

Each client sends, waits and sends again. A request asks for one to four of `--rows` images that were asked for alone
in the beginning, and every image received is compared with that one: a row must get its own image, whatever its
neighbours in a batch are. `load_requests` has the other kinds: malformed, huge, cancelled, slow and invalid requests.
With a SERVER_COMMAND the server is started here; it gets new versions and is killed and started again while the load
is on.
"""

import argparse
import collections
import json
import random
import statistics
import threading
import time
import warnings
from pathlib import Path

from benchmarks.load_requests import CANCELLED_AFTER, SHARES, Sender, WrongAnswer, make_rows
from benchmarks.served_process import ServedProcess
from latentdiff.runtimes.client import Client

SLOWEST_START = 300.0  # seconds


class Load:
    """What all clients together have seen: how often each kind of request ended in which way.

    Args:
        sender: a `Sender`.
        seconds: how long the clients send.
    """

    def __init__(self, sender, seconds):
        self.sender = sender
        self.until = time.monotonic() + seconds
        self.outcomes = collections.Counter()
        self.times, self.errors, self.images, self.warnings = [], [], 0, 0
        self.lock = threading.Lock()

    def count_warning(self, *arguments):
        """Stands in for `warnings.showwarning`."""
        with self.lock:
            self.warnings += 1

    def run(self, seed):
        """The requests of one client, until the time is over."""
        draws = random.Random(seed)
        while time.monotonic() < self.until:
            (kind,) = draws.choices(list(SHARES), SHARES.values())
            start = time.monotonic()
            outcome, count = self._outcome(kind, draws)
            with self.lock:
                self.outcomes[f"{kind}: {outcome}"] += 1
                self.images += count
                self.times += [time.monotonic() - start] * (kind == "valid" and outcome == "as it should be")

    def _outcome(self, kind, draws):
        try:
            return "as it should be", self.sender.send(kind, draws)
        except ConnectionError:
            return "no server", 0  # while it starts again
        except Exception as error:
            with self.lock:
                self.errors.append(f"{kind}: {type(error).__name__}: {error}"[:200])
            return ("wrong answer" if isinstance(error, WrongAnswer) else "error"), 0


def summary(load, samples):
    """What a `Load` has seen, and the memory of the server, as a dict.

    Args:
        load: the `Load`, after its clients are done.
        samples: list of (process id, megabytes) over time, empty where nobody watched.
    """
    times = sorted(load.times)
    report = {"requests": sum(load.outcomes.values()), "images": load.images, "warnings": load.warnings}
    report["outcomes"] = dict(sorted(load.outcomes.items()))
    if times:
        report |= {f"p{share}": round(times[int(len(times) * share / 100)], 2) for share in (50, 90, 99)}
        report["longest"] = round(times[-1], 2)
    report["first_errors"] = load.errors[:3]
    report["memory"] = [_memory_of(pid, samples) for pid in dict.fromkeys(pid for pid, _ in samples)]
    return report


def _memory_of(pid, samples):
    """Mean megabytes of a process in the first and in the last fifth of its time, and every tenth sample."""
    values = [value for process, value in samples if process == pid]
    fifth = max(len(values) // 5, 1)
    ends = {"first_fifth": values[:fifth], "last_fifth": values[-fifth:]}
    tenths = [round(value) for value in values[:: max(len(values) // 10, 1)]]
    return {**{name: round(statistics.mean(part)) for name, part in ends.items()}, "every_tenth": tenths}


def memory(pid):
    """Resident megabytes of a process, or None after its end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS")]  # none: nobody waited for it yet
    return kilobytes[0] / 1024 if kilobytes else None


def watch(threads, server, seconds):
    """Samples of the server's memory, until all threads have ended."""
    samples = []
    while any(thread.is_alive() for thread in threads):
        pid = server and server.pid
        sample = memory(pid) if pid else None
        samples += [] if sample is None else [(pid, sample)]
        time.sleep(min(5.0, seconds / 20))
    return samples


def make_sender(args):
    """The `Sender`, as soon as the server answers."""
    impatient = Client(args.server, args.model, timeout=CANCELLED_AFTER, retries=0)
    rows, until = make_rows(random.Random(0), args.rows), time.monotonic() + SLOWEST_START
    while True:
        try:
            return Sender(Client(args.server, args.model, timeout=SLOWEST_START), impatient, rows, args.server)
        except ConnectionError:
            if time.monotonic() > until:
                raise


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--server", required=True, metavar="HOST:PORT")
    add("--model", default="emoji-128")
    add("--seconds", type=float, default=600.0)
    add("--clients", type=int, default=8)
    add("--rows", type=int, default=40)
    add("--base", type=Path, help="BASE of SERVER_COMMAND")
    add("--swap-every", type=float, metavar="SECONDS")
    add("--kill-every", type=float, metavar="SECONDS")
    add("command", nargs="*", metavar="SERVER_COMMAND")
    args = parser.parse_args(arguments)
    if args.command and args.base is None:
        parser.error("SERVER_COMMAND needs --base")
    return args


def main():
    args = parse()
    server = ServedProcess(args.command, args.base, args.swap_every, args.kill_every) if args.command else None
    try:
        load = Load(make_sender(args), args.seconds)
        warnings.simplefilter("always")  # the server says what it bounds
        warnings.showwarning = load.count_warning
        if server is not None:
            server.disturb()
        threads = [threading.Thread(target=load.run, args=(seed,)) for seed in range(args.clients)]
        for thread in threads:
            thread.start()
        report = summary(load, watch(threads, server, args.seconds))
    finally:
        if server is not None:
            server.stop()
    print(json.dumps({**report, **({"swaps": server.swaps, "kills": server.kills} if server else {})}, indent=2))


if __name__ == "__main__":
    main()
