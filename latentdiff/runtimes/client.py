"""Images from a model that is served elsewhere. Needs no Keras; gRPC needs `pip install latentdiff[serving]`.

>>> Client("localhost:8500", "emoji-128").generate("a red apple, 3d", seed=7)
"""

import base64
import contextlib
import http.client
import io
import json
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings

import numpy as np

from latentdiff.settings.request import Request, check_count
from latentdiff.settings.table import SIZES
from latentdiff.settings.wire import SERVED, other_forms, to_wire

LONGEST_PAUSE = 5.0
LONGEST_TIMEOUT = 86_400  # a day; clocks of the libraries below overflow at other places
SIGNATURE = "png"
DTYPES = {row.wire: row.dtype for row in (*SERVED, *SIZES) if row.kind is not str}


class Busy(ConnectionError):
    """The server can't be reached, or has too much to do: it is worth trying again."""


class Client:
    """Makes images at a TF Serving that has a SavedModel of `latentdiff export`.

    Args:
        server: "HOST:PORT" for gRPC, not encrypted; "http://HOST:PORT" or "https://..." for REST.
        model: name of the model at the server.
        timeout: seconds that a batch may take, from first try to last byte.
        retries: how often a batch is asked for again while the server is busy or can't be reached. An image is a
            function of its settings alone, so that asking twice does no harm.

    Raises:
        ValueError: no such server.
        ImportError: gRPC without the extra `serving`.
    """

    def __init__(self, server, model, timeout=120.0, retries=5):
        if not 0 < timeout <= LONGEST_TIMEOUT or retries < 0:
            raise ValueError(
                f"`timeout` must be above 0 and at most {LONGEST_TIMEOUT} seconds, `retries` not below 0. "
                f"Received: {timeout=}, {retries=}"
            )
        transport = _Rest if "://" in server else _Grpc
        self._transport = transport(server, model)
        self.server = server
        self.timeout = timeout
        self.retries = retries

    def generate(self, prompts, *, images=None, masks=None, num_images=1, batch_size=8, **settings):
        """Images of what the prompts say; arguments and result are those of `TextToImage.generate`.

        Prompts have no weights and are no mixtures: a server knows neither. It takes no `images` and no `masks`, and
        the settings that are not inputs of its model stay as the model was exported.

        Args:
            batch_size: images asked for at a time; the server refuses more than its `max_batch_size`.

        Raises:
            ValueError: lists of other lengths than the prompts, prompts with weights, `images` or `masks`, or what the
                server calls an invalid argument.
            TimeoutError: no answer in time.
            ConnectionError: the server is not there, or too busy, for all tries.
            OSError: any other failure at the server.

        Warns:
            UserWarning: the server used another setting than the one asked for, see docs/serving.md.
        """
        given = [name for name, value in {"images": images, "masks": masks}.items() if value is not None]
        if given:
            raise ValueError(f"`{given[0]}` is no input of a served model")
        made = self.draw(Request.build(prompts, num_images=num_images, **settings), batch_size)
        return made[0] if isinstance(prompts, (str, bytes)) and num_images == 1 else made

    def draw(self, request, batch_size=8):
        """uint8 images (n, height, width, 3) of a `Request`."""
        made = []
        for batch in request.batches(check_count("batch_size", batch_size)):
            made += self._batch(to_wire(batch))
        return np.stack(made)

    def _batch(self, rows):
        from PIL import Image

        answer = self._ask_any(rows)
        received, asked = len(answer["image_bytes"]), len(rows["seeds"])
        if received != asked:
            raise OSError(f"{self.server} answered with {received} images. Expected: {asked}")
        for text in answer["warnings"]:
            if text:
                warnings.warn(text, stacklevel=4)  # where `generate` is called
        return [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in answer["image_bytes"]]

    def _ask_any(self, rows):
        """The answer of a model of any version, with any inputs."""
        try:
            return self._ask(rows)
        except ValueError:
            for form in other_forms(rows):
                with contextlib.suppress(ValueError):
                    return self._ask(form)
            raise

    def _ask(self, rows):
        """The answer to a request, as soon as the server gives one."""
        deadline = time.monotonic() + self.timeout
        for tried in range(self.retries + 1):
            try:
                return self._transport.predict(rows, max(deadline - time.monotonic(), 0.001))
            except Busy:
                pause = min(0.1 * 2**tried, LONGEST_PAUSE) * random.uniform(0.5, 1.5)
                if tried == self.retries or time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)


class _Grpc:
    """The prediction service of TF Serving, by its own messages and stubs."""

    def __init__(self, server, model):
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        if not server.rpartition(":")[2].isdecimal():
            raise ValueError(f"`server` must be HOST:PORT or http://HOST:PORT. Received: server={server!r}")
        self._grpc, self._messages = grpc, predict_pb2
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._channel = grpc.insecure_channel(server, unlimited)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.server, self.model = server, model

    def predict(self, rows, timeout):
        request = self._messages.PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = SIGNATURE
        for name, values in rows.items():
            tensor = request.inputs[name]
            for size in np.shape(values):
                tensor.tensor_shape.dim.add(size=size)
            if name in DTYPES:
                tensor.dtype = {"int32": 3, "float32": 1}[DTYPES[name]]  # of tensorflow/core/framework/types.proto
                tensor.tensor_content = np.asarray(values, DTYPES[name]).tobytes()
            else:
                tensor.dtype = 7
                tensor.string_val.extend(text.encode() for text in values)
        try:
            outputs = self._stub.Predict(request, timeout=timeout).outputs
        except self._grpc.RpcError as error:
            raise self._translated(error) from error
        texts = [text.decode() for text in outputs["warnings"].string_val]
        return {"image_bytes": outputs["image_bytes"].string_val, "warnings": texts}

    def _translated(self, error):
        code, details = error.code(), f"{self.server}: {error.details()}"
        codes = self._grpc.StatusCode
        if code in (codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED):
            return Busy(details)
        if code in (codes.INVALID_ARGUMENT, codes.NOT_FOUND):
            return ValueError(details)
        return TimeoutError(details) if code == codes.DEADLINE_EXCEEDED else OSError(details)


class _Rest:
    """The REST interface of TF Serving."""

    def __init__(self, server, model):
        if not server.startswith(("http://", "https://")):
            raise ValueError(f"`server` must be HOST:PORT or http://HOST:PORT. Received: server={server!r}")
        self.server = server.rstrip("/")
        self.url = f"{self.server}/v1/models/{urllib.parse.quote(model, safe='')}:predict"

    def predict(self, rows, timeout):
        inputs = {name: np.asarray(values, DTYPES.get(name)).tolist() for name, values in rows.items()}
        body = json.dumps({"signature_name": SIGNATURE, "inputs": inputs}, allow_nan=False).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            content = _within(timeout, lambda: _fetch(request, timeout))
        except urllib.error.HTTPError as error:
            raise self._translated(error) from error
        except TimeoutError as error:
            raise TimeoutError(f"{self.server}: no answer in {timeout:.1f} s") from error
        except (urllib.error.URLError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            kind = TimeoutError if isinstance(reason, TimeoutError) else Busy
            raise kind(f"{self.server}: {reason}") from error
        try:
            outputs = json.loads(content)["outputs"]
            contents = [base64.b64decode(entry["b64"]) for entry in outputs["image_bytes"]]
            return {"image_bytes": contents, "warnings": list(outputs["warnings"])}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            needed = "`outputs` that have `image_bytes` and `warnings`"
            raise OSError(f"{self.url} must answer with {needed}. Received: {content[:200]}") from error

    def _translated(self, error):
        details = f"{self.server}: {error.read().decode(errors='replace')[:500] or error}"
        if error.code in (429, 502, 503):
            return Busy(details)
        if error.code in (400, 404):
            return ValueError(details)
        return TimeoutError(details) if error.code in (408, 504) else OSError(details)


def _fetch(request, timeout):
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return response.read()


def _within(seconds, function):
    """What `function` returns or raises; TimeoutError if that takes longer.

    The time-out of a socket starts again with every byte that comes, so the clock runs here, and a connection that was
    given up goes on in a thread that nobody waits for.
    """
    done = []

    def run():
        try:
            done.append((function(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise TimeoutError
    result, error = done[0]
    if error is not None:
        raise error
    return result
