"""Requests to a served tiny model, and what it should answer."""

import numpy as np

LEVELS = 2  # of 255: what two ways to the same float32 image may differ by

PROMPTS = ["a red apple", "", "the small cat", "blue", "a rocket", "smiling cat", "green and red", "flat"]


def mixed(count):
    """A batch in which every row has its own settings."""
    rows = np.arange(count)
    return {
        "prompts": PROMPTS[:count],
        "negative_prompts": [PROMPTS[(3 * row + 1) % 8] if row % 2 else "" for row in rows],
        "seeds": (7 + 5 * rows).astype("int32"),
        "num_steps": (1 + rows % 4).astype("int32"),
        "guidance_scale": (1.0 + 1.5 * (rows % 3)).astype("float32"),
        "guidance_rescale": (0.4 * (rows % 2)).astype("float32"),
        "guidance_interval": np.stack([0.1 * (rows % 2), 5.0 + rows], axis=1).astype("float32"),
    }


def pick(request, rows):
    return {name: [values[row] for row in rows] for name, values in request.items()}


def expected(pipeline, request):
    """The images of `generate` for a request."""
    return pipeline.generate(**{("seed" if name == "seeds" else name): values for name, values in request.items()})


def with_token_ids(pipeline, request):
    """The same request for a model that takes token ids."""
    tokenize = pipeline.model.text_encoder.tokenize
    texts = {name: values for name, values in request.items() if "prompts" in name}
    ids = {name.replace("prompts", "token_ids"): tokenize(values) for name, values in texts.items()}
    return {**{name: values for name, values in request.items() if name not in texts}, **ids}
