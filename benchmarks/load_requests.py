"""The requests of `benchmarks.serving_load`: valid, malformed, huge, cancelled, slow and invalid ones."""

import socket
import time

import numpy as np

from latentdiff.settings.request import Request
from latentdiff.settings.wire import to_wire

PROMPTS = ["a red apple, 3d", "a smiling cat, flat", "police car", "", "a rocket " * 60, "grüne Äpfel 🍏"]
STEPS = (1, 2, 4, 8, 8, 8, 20)
SCALES = (1.0, 3.0, 7.5)
ODD = ({"num_steps": 0}, {"num_steps": -5}, {"guidance_scale": float("nan")}, {"guidance_scale": 1e9})
HUGE = "x " * 500_000
# Kinds of requests, and how many of 100 are of each.
SHARES = {"valid": 76, "malformed": 6, "huge": 4, "cancelled": 6, "slow": 4, "invalid": 4}
CANCELLED_AFTER = 0.05  # seconds
SLOW = 5.0  # seconds that a connection is held
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # how each HTTP/2 connection begins
LEVELS = 2  # of 255: what two ways to the same float32 image may differ by


class WrongAnswer(Exception):
    """A row was answered with another image than its own, or a request that has none with an image."""


def make_rows(draws, count):
    """Settings of `count` images, as a served model takes them: a list of dicts."""
    request = Request.build(
        [draws.choice(PROMPTS) for _ in range(count)],
        negative_prompts=[draws.choice(["", "black and white"]) for _ in range(count)],
        seed=[draws.randrange(2**31) for _ in range(count)],
        num_steps=[draws.choice(STEPS) for _ in range(count)],
        guidance_scale=[draws.choice(SCALES) for _ in range(count)],
    )
    wire = to_wire(request)
    return [{name: values[row] for name, values in wire.items()} for row in range(count)]


class Sender:
    """Sends requests of rows whose images are known, and compares every image with that of its row.

    Args:
        client: a `Client`. Its checks are passed by: the server must bound or refuse what they would not let through.
        impatient: a `Client` that gives up after `CANCELLED_AFTER` seconds.
        rows: list of dicts, see `make_rows`. Their images are asked for here, one by one.
        server: str, HOST:PORT.
    """

    def __init__(self, client, impatient, rows, server):
        self.client, self.impatient, self.rows, self.server = client, impatient, rows, server
        self.images = [ask(client, [row])[0] for row in rows]

    def send(self, kind, draws):
        """Sends a request of a kind of `SHARES` and returns the number of images received, each of them compared.

        Raises:
            WrongAnswer: see there. What the client raises goes through, but for what belongs to the kind.
        """
        places = [draws.randrange(len(self.rows)) for _ in range(draws.randint(1, 4))]
        return getattr(self, f"_{kind}")(places, draws)

    def _valid(self, places, draws):
        return self._compare(self.client, places)

    def _malformed(self, places, draws):
        return self._compare(self.client, places, {**self.rows[0], **draws.choice(ODD)})

    def _huge(self, places, draws):
        return self._compare(self.client, places, {**self.rows[0], "prompts": HUGE})

    def _cancelled(self, places, draws):
        try:
            return self._compare(self.impatient, places)
        except TimeoutError:
            return 0

    def _slow(self, places, draws):
        """A connection that sends a byte now and then, and never a whole request."""
        host, _, port = self.server.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=SLOW) as connection:
            for place in range(len(PREFACE)):
                connection.sendall(PREFACE[place : place + 1])
                time.sleep(SLOW / len(PREFACE))
        return 0

    def _invalid(self, places, draws):
        """Tensors with different numbers of rows."""
        rows = [self.rows[place] for place in places]
        try:
            self.client._ask({**joined(rows), "num_steps": [1] * (len(rows) + 1)})
        except ValueError:
            return 0
        raise WrongAnswer("an invalid request was answered")

    def _compare(self, client, places, first=None):
        """Asks for the rows at `places`, behind a row `first` that the server must bound, if there is one."""
        rows = [self.rows[place] for place in places]
        images = ask(client, rows if first is None else [first, *rows])
        for image, place in zip(images[len(images) - len(rows) :], places, strict=True):
            if np.abs(image.astype(int) - self.images[place]).max() > LEVELS:
                raise WrongAnswer(f"row {place} was answered with another image than its own")
        return len(images)


def joined(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def ask(client, rows):
    """The images of rows, a list of uint8 arrays (height, width, 3)."""
    return client._batch(joined(rows))
