"""A test double of TF Serving: the official messages and stubs in front of SavedModels, in Python.

It does what the stock server is documented to do with a model: replays `tf_serving_warmup_requests`, fills in the
defaults of a signature, joins requests into batches (concatenate, pad to an allowed size by repeating the first row,
split), and swaps in a new version while the old one answers. It is not TF Serving; it tells whether our files, messages
and signatures hold together, not how fast the real one is.
"""

import base64
import concurrent.futures
import http.server
import json
import queue
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc


class Refused(Exception):
    """An error with a gRPC status code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Version:
    """One loaded version: its signatures, warmed up."""

    def __init__(self, folder):
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.number = int(folder.name)
        self.signature_defs = saved.meta_graphs[0].signature_def
        self.loaded = tf.saved_model.load(str(folder), tags=["serve"])
        self.warmed_up = 0
        path = folder / "assets.extra" / "tf_serving_warmup_requests"
        for record in tf.data.TFRecordDataset(str(path)) if path.exists() else ():
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            self.run(*self.checked(log.predict_log.request))
            self.warmed_up += 1

    def checked(self, request):
        """Signature name and arrays of a request, with the defaults filled in; Refused if they don't fit."""
        name = request.model_spec.signature_name or "serving_default"
        if name not in self.signature_defs:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f'Serving signature name: "{name}" not found')
        signature = self.signature_defs[name]
        tensors = {**{key: signature.defaults[key] for key in signature.defaults}, **dict(request.inputs.items())}
        if set(tensors) != set(signature.inputs):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"inputs must be {sorted(signature.inputs)}")
        for key, tensor in tensors.items():
            if tensor.dtype != signature.inputs[key].dtype:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{key} has the wrong type")
        arrays = {key: tf.make_ndarray(tensor) for key, tensor in tensors.items()}
        return name, arrays

    def run(self, name, arrays):
        try:
            outputs = self.loaded.signatures[name](**{key: tf.constant(value) for key, value in arrays.items()})
        except tf.errors.InvalidArgumentError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, error.message) from error
        return {key: value.numpy() for key, value in outputs.items()}


class Batcher:
    """Joins requests for the same signature, as TF Serving's BatchingSession does."""

    def __init__(self, config):
        values = {key.split("{")[0].strip(): value for key, value in _lines(config)}
        self.largest = int(values["max_batch_size"])
        self.allowed = [int(value) for key, value in _lines(config) if key == "allowed_batch_sizes"]
        self.wait = int(values["batch_timeout_micros"]) / 1e6
        self.queue = queue.Queue(int(values["max_enqueued_batches"]) * self.largest)
        self.sizes = []  # (rows asked for, rows run) of each batch
        threading.Thread(target=self._loop, daemon=True).start()

    def run(self, version, name, arrays):
        sizes = {len(value) for value in arrays.values()}
        if len(sizes) != 1:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "input tensors must have equal 0th-dimension size")
        if max(sizes) > self.largest:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"task size {max(sizes)} is above {self.largest}")
        task = (version, name, arrays, concurrent.futures.Future())
        try:
            self.queue.put_nowait(task)
        except queue.Full:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full") from None
        return task[3].result()

    def _loop(self):
        left = None
        while True:
            tasks, left = [left or self.queue.get()], None
            until = time.monotonic() + self.wait
            while left is None and sum(map(_rows, tasks)) < self.largest:
                try:
                    task = self.queue.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
                rows = sum(_rows(task) for task in [*tasks, task])
                same = task[:2] == tasks[0][:2]
                if same and rows <= self.largest:
                    tasks.append(task)
                else:
                    left = task
            self._run(tasks)

    def _run(self, tasks):
        version, name = tasks[0][:2]
        rows = sum(map(_rows, tasks))
        padding = next(size for size in self.allowed if size >= rows) - rows
        self.sizes.append((rows, rows + padding))
        try:
            joined = {
                key: np.concatenate([task[2][key] for task in tasks] + [tasks[0][2][key][:1]] * padding)
                for key in tasks[0][2]
            }
            outputs = version.run(name, joined)
        except Exception as error:
            for task in tasks:
                task[3].set_exception(error)
            return
        start = 0
        for task in tasks:
            task[3].set_result({key: value[start : start + _rows(task)] for key, value in outputs.items()})
            start += _rows(task)


def _rows(task):
    return len(next(iter(task[2].values())))


def _lines(config):
    """(key, value) of a flat text protocol buffer, such as `max_batch_size { value: 8 }`."""
    for line in config.splitlines():
        line = line.split("#")[0].replace("{ value:", ":").replace("}", "").strip()
        if line:
            key, _, value = line.partition(":")
            yield key.strip(), value.strip(" :")


class ServingDouble(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves BASE/VERSION folders by gRPC (`port`) and REST (`rest_port`) on loopback until `stop`.

    Args:
        base: BASE; the newest version is served, `reload` looks again.
        batching: whether to join requests, by BASE/serving/batching.config.
        port: that of gRPC; 0 takes a free one.
    """

    def __init__(self, base, batching=True, port=0):
        self.base = Path(base)
        self.version = None
        self.failing = 0  # so many calls are refused as UNAVAILABLE
        self.reload()
        self.batcher = Batcher((self.base / "serving" / "batching.config").read_text()) if batching else None
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()
        self.rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _rest_handler(self))
        self.rest_port = self.rest.server_address[1]
        threading.Thread(target=self.rest.serve_forever, daemon=True).start()

    def reload(self):
        """Loads and warms up the newest version, then lets it take over."""
        newest = max((path for path in self.base.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
        self.version = Version(newest)

    def reload_newer(self):
        """`reload`, if there is a newer version."""
        if max(int(path.name) for path in self.base.iterdir() if path.name.isdecimal()) > self.version.number:
            self.reload()

    def stop(self):
        self.server.stop(None)
        self.rest.shutdown()
        self.rest.server_close()

    def answer(self, request):
        """Version and outputs (dict of arrays) for a PredictRequest; raises Refused."""
        if self.failing > 0:
            self.failing -= 1
            raise Refused(grpc.StatusCode.UNAVAILABLE, "on purpose")
        if request.model_spec.name != self.base.name:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found: {request.model_spec.name}")
        version = self.version
        name, arrays = version.checked(request)
        return version, (self.batcher.run(version, name, arrays) if self.batcher else version.run(name, arrays))

    def Predict(self, request, context):  # noqa: N802  the name is gRPC's
        try:
            version, outputs = self.answer(request)
        except Refused as error:
            context.abort(error.code, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = version.number
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def _rest_handler(double):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                self._send(200, {"outputs": self._predict(name, body)})
            except Refused as error:
                codes = {"UNAVAILABLE": 503, "NOT_FOUND": 404, "INVALID_ARGUMENT": 400}
                self._send(codes[error.code.name], {"error": str(error)})

        def _predict(self, name, body):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = body.get("signature_name", "serving_default")
            inputs = double.version.signature_defs[request.model_spec.signature_name].inputs
            missing = sorted(set(inputs) - set(body["inputs"]))
            if missing:  # REST knows no defaults
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Missing named input: {missing[0]}")
            unknown = sorted(set(body["inputs"]) - set(inputs))
            if unknown:  # to ask for one would put it into the signature
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{unknown[0]} is not in the signature")
            for key, values in body["inputs"].items():
                try:
                    tensor = tf.make_tensor_proto(values, tf.dtypes.as_dtype(inputs[key].dtype))
                except (TypeError, ValueError, KeyError) as error:
                    raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"JSON value of {key}: {error}") from error
                request.inputs[key].CopyFrom(tensor)
            return {key: [_json(key, row) for row in value] for key, value in double.answer(request)[1].items()}

        def _send(self, code, value):
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    return Handler


def _json(key, value):
    if key.endswith("_bytes"):
        return {"b64": base64.b64encode(value).decode()}
    return value.decode() if isinstance(value, bytes) else value.tolist()


if __name__ == "__main__":  # for benchmarks/serving_load.py: serving_double.py BASE [PORT]
    import os
    import sys

    import tensorflow_text  # noqa: F401  its kernels

    double = ServingDouble(sys.argv[1], port=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"port {double.port}, REST port {double.rest_port}, process {os.getpid()}", flush=True)
    while True:  # as TF Serving does, each second
        time.sleep(1.0)
        double.reload_newer()
