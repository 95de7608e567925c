"""The client without a server; tests/export/test_serving.py has it with one."""

import contextlib
import http.server
import io
import subprocess
import sys
import threading
import time
import urllib.parse
import warnings

import numpy as np
import pytest
from PIL import Image

from latentdiff.runtimes import client as clients
from latentdiff.runtimes.client import Busy, Client
from latentdiff.settings import table


class Server:
    """Stands in for the connection: keeps what it is asked, answers with gray images after `busy` refusals."""

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
    assert first["guidance_scale"] == [2, 2, 2, 3] and first["num_steps"] == [table.UNSET] * 4
    assert first["negative_prompts"] == [""] * 4


def test_one_prompt_one_picture():
    assert connected(Server()).generate("a", seed=3).shape == (2, 2, 3)
    assert connected(Server()).generate(["a"], seed=3).shape == (1, 2, 2, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompts": []}, "`prompts` must have at least one prompt"),
        ({"prompts": [3]}, "`prompts` must be"),
        ({"prompts": ["a", "b"], "seed": [1]}, "`seed` must be one value, or one for each of the 2 prompts"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 2147483647"),
        ({"seed": 2**31 - 1, "num_images": 2}, "must stay within"),
        ({"num_images": 0}, "`num_images` must be a whole number of at least 1"),
        ({"prompts": "(red:1.5) apple"}, r"neither weights nor mixtures.*Received: '\(red:1.5\) apple'"),
        ({"prompts": ["a", "red apple:0.7 | green apple:0.3"]}, "neither weights nor mixtures.*green apple"),
        ({"negative_prompts": "(red:2)"}, "`negative_prompts` must have neither weights nor mixtures"),
        ({"prompts": "a:1 | b"}, "`prompts` has a mixture with a part that has no weight, 'b'"),
        ({"negative_prompts": "a:1 | b"}, "`negative_prompts` has a mixture"),
        ({"negative_prompts": 3}, "`negative_prompts` must be valid Unicode text. Received: negative_prompts=3"),
        (
            {"negative_prompts": []},
            "`negative_prompts` must be one value, or one for each of the 1 prompts. Received: 0",
        ),
        ({"guidance_scale": float("nan")}, "`guidance_scale` must be a number from 1 to 1000"),
        ({"sampler": "ddim"}, "`sampler` is no input of a served model"),
        ({"strength": 0.5}, "`strength` is no input of a served model"),
        ({"images": np.zeros((2, 2, 3))}, "`images` is no input of a served model"),
    ],
)
def test_wrong_settings_never_reach_the_server(arguments, message):
    server = Server()
    with pytest.raises(ValueError, match=message):
        connected(server).generate(**{"prompts": "a", **arguments})
    assert not server.asked


def test_backslashes_are_taken_off_as_they_are_locally():
    server = Server()
    prompts = [r"a \(red\) apple", r"a\|b\:1", r"\\", "(red:1) a", "(red) a | b", r"a\b"]
    connected(server).generate(prompts, negative_prompts=[r"\(x:2\)", *prompts[1:]], seed=1)
    ((rows, _),) = server.asked
    assert rows["prompts"] == ["a (red) apple", "a|b:1", "\\", "red a", "(red) a | b", r"a\b"]
    assert rows["negative_prompts"] == ["(x:2)", *rows["prompts"][1:]]


def test_arrays_of_texts():
    server = Server()
    connected(server).generate(np.array(["a", "b"]), negative_prompts=np.array(["c", "d"]), seed=1, num_images=2)
    ((rows, _),) = server.asked
    assert rows["prompts"] == ["a", "a", "b", "b"] and rows["negative_prompts"] == ["c", "c", "d", "d"]


def test_neither_keras_nor_tensorflow_is_needed():
    script = "import sys, latentdiff.runtimes.client; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("server", ["ftp://nowhere", "nowhere", "nowhere:port"])
def test_servers_that_are_none(server):
    if "://" not in server:
        pytest.importorskip("tensorflow_serving")
    with pytest.raises(ValueError, match="`server` must be HOST:PORT or http://HOST:PORT"):
        Client(server, "model")


def test_settings_of_some_rows_only():
    server = Server()
    connected(server).generate(["a", "b"], seed=1, num_steps=[3, None], guidance_interval=[None, (1, float("inf"))])
    rows = server.asked[0][0]
    assert rows["num_steps"] == [3, table.UNSET] and rows["guidance_rescale"] == [table.UNSET] * 2
    assert rows["guidance_interval"] == [[table.UNSET] * 2, [1.0, table.LARGEST]]


def test_a_model_of_an_earlier_version():
    """It refuses the inputs that it does not know; a request that needs one of them is refused for good."""
    server, known = Server(), {"prompts", "negative_prompts", "seeds", "num_steps", "guidance_scale"}
    predict = server.predict

    def older(rows, timeout):
        if rows.keys() - known:
            raise ValueError("inputs must be those of the signature")
        return predict(rows, timeout)

    server.predict = older
    assert connected(server).generate("a", seed=3).shape == (2, 2, 3)
    with pytest.raises(ValueError, match="inputs must be those"):
        connected(server).generate("a", seed=3, guidance_rescale=0.5)


def test_settings_that_not_every_model_has():
    server = Server()
    connected(server).generate(["a", "b"], seed=1)
    connected(server).generate(["a", "b"], seed=1, original_size=[None, (640, 480)])
    (plain, _), (sized, _) = server.asked
    unset = [[table.UNSET] * 2] * 2
    sizes = {"original_size": [unset[0], [640, 480]], "crop_top_left": unset, "target_size": unset}
    assert sized == {**plain, **sizes}


def test_a_server_that_requires_all_inputs_of_its_model():
    class Strict(Server):
        def predict(self, rows, timeout):
            if "target_size" not in rows:
                raise ValueError("missing inputs")
            return super().predict(rows, timeout)

    server = Strict()
    connected(server).generate(["a", "b"], seed=1)
    ((rows, _),) = server.asked
    assert rows["target_size"] == [[table.UNSET] * 2] * 2


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), 1e10])
def test_timeouts_that_are_none(timeout):
    with pytest.raises(ValueError, match="`timeout` must be above 0 and at most 86400 seconds"):
        Client("http://nowhere", "model", timeout=timeout)


@pytest.mark.parametrize("model", ["emoji 128", "a#b", "modèle", "a/b?c"])
def test_any_model_name_is_one_part_of_the_address(model):
    url = Client("http://nowhere/", model)._transport.url
    path = urllib.parse.urlsplit(url).path
    assert path.count("/") == 3 and urllib.parse.unquote(path) == f"/v1/models/{model}:predict"


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


@contextlib.contextmanager
def answering(write):
    """The address of an HTTP server that reads requests and lets `write(file)` write its answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802  the name is that of http.server
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError):  # the client is gone
                write(self.wfile)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_server_that_answers_byte_by_byte():
    """Each byte comes in time, the whole does not."""

    def write(file):
        file.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(30):
            file.write(b" ")
            file.flush()
            time.sleep(0.05)

    with answering(write) as server:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="no answer in 0.3 s"):
            Client(server, "model", timeout=0.3).generate("a", seed=1)
        assert time.monotonic() - start < 1.0


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"{}",
        b"[1]",
        b'{"outputs": [1.0]}',
        b'{"outputs": {"image_bytes": [1], "warnings": [""]}}',
        b'{"outputs": {"image_bytes": []}}',
        b"\xff",
    ],
)
def test_answers_that_are_none(body):
    with answering(lambda file: file.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)) as server:
        with pytest.raises(OSError, match="/v1/models/model:predict must answer with `outputs`") as failed:
            Client(server, "model", retries=0).generate("a", seed=1)
        assert repr(body[:20])[2:-1] in str(failed.value) and not isinstance(failed.value, ConnectionError)


def test_too_few_pictures():
    server = Server()
    server.predict = lambda rows, timeout: {"image_bytes": [], "warnings": []}
    with pytest.raises(OSError, match="http://nowhere answered with 0 images. Expected: 1"):
        connected(server).generate("a", seed=1)


def test_warnings_point_to_the_caller():
    server = Server()
    server.predict = lambda rows, timeout: {"image_bytes": [gray(1)], "warnings": ["bounded"]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connected(server).generate("a", seed=1)
    assert [(str(warning.message), warning.filename) for warning in caught] == [("bounded", __file__)]


def test_the_answer_is_decoded():
    picture = connected(Server()).generate("a", seed=200)
    np.testing.assert_array_equal(picture, np.full((2, 2, 3), 200, "uint8"))
