"""The client without a server; tests/export/test_serving.py has it with one."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from latentdiff import client as clients
from latentdiff import noise, picture_settings
from latentdiff.client import Busy, Client


class Server:
    """Stands in for the connection: keeps what it is asked, answers with gray pictures after `busy` refusals."""

    def __init__(self, busy=0):
        self.busy = busy
        self.asked = []

    def predict(self, rows, timeout):
        self.asked.append((rows, timeout))
        if self.busy:
            self.busy -= 1
            raise Busy("busy")
        return {"image_bytes": [gray(seed) for seed in rows["seeds"]], "warnings": [""] * len(rows["seeds"])}


def gray(level):
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def connected(server, **options):
    client = Client("http://nowhere", "model", **options)
    client._transport = server
    return client


# === Contract ===


def test_rows_are_cut_into_batches():
    server = Server()
    pictures = connected(server).generate(["a", "b"], seed=[10, 20], num_images=3, batch_size=4, guidance_scale=[2, 3])
    assert [int(picture[0, 0, 0]) for picture in pictures] == [10, 11, 12, 20, 21, 22]
    first, second = (rows for rows, _ in server.asked)
    assert first["prompts"] == ["a", "a", "a", "b"] and second["prompts"] == ["b", "b"]
    assert first["guidance_scale"] == [2, 2, 2, 3] and first["num_steps"] == [-1] * 4
    assert first["negative_prompts"] == [""] * 4


def test_one_prompt_one_picture():
    assert connected(Server()).generate("a", seed=3).shape == (2, 2, 3)
    assert connected(Server()).generate(["a"], seed=3).shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompts": []}, "`prompts` must be a str or a list of at least one str"),
        ({"prompts": [3]}, "`prompts` must be"),
        ({"prompts": ["a", "b"], "seed": [1]}, "`seed` must be one value or one for each of the 2 prompts"),
        ({"seed": -1}, r"`seed` must lie in \[0, 2147483647\]"),
        ({"seed": 2**31 - 1, "num_images": 2}, "`seed` must lie in"),
        ({"num_images": 0}, "`num_images`, `batch_size` must be at least 1"),
    ],
)
def test_wrong_settings_never_reach_the_server(arguments, message):
    server = Server()
    with pytest.raises(ValueError, match=message):
        connected(server).generate(**{"prompts": "a", **arguments})
    assert not server.asked


@pytest.mark.parametrize("server", ["ftp://nowhere", "nowhere", "nowhere:port"])
def test_servers_that_are_none(server):
    if "://" not in server:
        pytest.importorskip("tensorflow_serving")
    with pytest.raises(ValueError, match="`server` must be HOST:PORT or http://HOST:PORT"):
        Client(server, "model")


def test_nan_is_refused_before_it_becomes_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Client("http://127.0.0.1:1", "model").generate("a", guidance_scale=float("nan"))


# === Time ===


def test_busy_servers_are_asked_again(monkeypatch):
    pauses = []
    monkeypatch.setattr(clients.time, "sleep", pauses.append)
    server = Server(busy=3)
    connected(server).generate("a", seed=1)
    assert len(server.asked) == 4
    assert all(0.05 * 2**index <= pause <= 0.15 * 2**index for index, pause in enumerate(pauses))


def test_retries_have_an_end(monkeypatch):
    monkeypatch.setattr(clients.time, "sleep", lambda pause: None)
    server = Server(busy=100)
    with pytest.raises(Busy):
        connected(server, retries=2).generate("a", seed=1)
    assert len(server.asked) == 3


def test_all_tries_together_keep_the_timeout():
    server = Server(busy=100)
    start = time.monotonic()
    with pytest.raises(Busy):
        connected(server, timeout=0.4, retries=100).generate("a", seed=1)
    assert time.monotonic() - start < 0.6
    left = [timeout for _, timeout in server.asked]
    assert left == sorted(left, reverse=True) and left[0] <= 0.4


def test_a_server_that_is_not_there():
    with pytest.raises(ConnectionError, match="127.0.0.1:1"):
        Client("http://127.0.0.1:1", "model", retries=0).generate("a", seed=1)


def test_a_server_that_never_answers():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError, match="127.0.0.1"):
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}", "model", timeout=0.2).generate("a", seed=1)


def test_the_answer_is_decoded():
    picture = connected(Server()).generate("a", seed=200)
    np.testing.assert_array_equal(picture, np.full((2, 2, 3), 200, "uint8"))


def test_the_largest_seed_is_that_of_the_noise():
    assert picture_settings.MAX_SEED == noise.MAX_SEED
