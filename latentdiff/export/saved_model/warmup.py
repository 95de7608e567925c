"""Requests that TF Serving replays when it loads a version, so that nobody waits for its first run.

The file holds `PredictionLog` messages of tensorflow-serving-api. They are a few nested fields, written by hand here so
that an export needs no further package.
"""

WARMUP_FILE = "tf_serving_warmup_requests"


def write_warmup(path, name, requests):
    """Writes the warmup file.

    Args:
        path: the file, `assets.extra/tf_serving_warmup_requests` in a version.
        name: the model's name at the server.
        requests: list of (signature name, dict of input name to array).
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            writer.write(_prediction_log(name, signature, inputs))


def _prediction_log(name, signature, inputs):
    import tensorflow as tf

    model_spec = _field(1, name.encode()) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for key, values in inputs.items():
        tensor = tf.make_tensor_proto(values).SerializeToString()
        request += _field(2, _field(1, key.encode()) + _field(2, tensor))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number, content):
    """A field of a protocol buffer that has a length."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value):
    """Seven bits a byte, the lowest first; all but the last byte have the eighth bit set."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
