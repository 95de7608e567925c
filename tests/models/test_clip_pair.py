import keras
import keras_hub
import numpy as np
import pytest
from harness import arrays, check_bfloat16, check_config, check_save, randomize

from latentdiff.models.clip_pair import ClipPair

FIRST = {"vocabulary_size": 11, "embedding_dim": 8, "hidden_dim": 8, "num_layers": 2, "num_heads": 2}
FIRST |= {"intermediate_dim": 12, "max_sequence_length": 6}
SECOND = {**FIRST, "embedding_dim": 12, "hidden_dim": 12, "num_layers": 3, "intermediate_activation": "gelu"}
# Start 9, end 10, which also pads.
TOKEN_IDS = np.array([[9, 3, 4, 10, 10, 10], [9, 3, 10, 10, 10, 10], [9, 1, 2, 3, 4, 10]], "int32")


def make(dtype=None, **changes):
    return ClipPair(FIRST, SECOND, 5, **{"second_pad_id": 7, **changes}, dtype=dtype)


def call(pair):
    return pair({"token_ids": TOKEN_IDS})


@pytest.fixture(scope="module")
def pair():
    return randomize(make())


def alone(arguments, variables, token_ids, index):
    """What a text encoder alone gives: the output of a layer, and that of the last with the normalization."""
    clip = keras_hub.models.CLIPTextEncoder(**arguments, intermediate_output_index=index)
    for mine, theirs in zip(clip.variables, variables, strict=True):
        mine.assign(theirs)
    outputs = arrays(clip({"token_ids": token_ids}))
    return outputs["intermediate_output"], outputs["sequence_output"]


@pytest.mark.parametrize("skipped_layers", [1, 0])
def test_features_are_those_of_both_alone(skipped_layers):
    """The second sees its own padding; the vector of the text is that of the first end mark."""
    pair = randomize(make(skipped_layers=skipped_layers))
    first, _ = alone(FIRST, pair.first.variables, TOKEN_IDS, 1 - skipped_layers)
    padded = np.array([[9, 3, 4, 10, 7, 7], [9, 3, 10, 7, 7, 7], [9, 1, 2, 3, 4, 10]], "int32")
    second, normalized = alone(SECOND, pair.second.variables, padded, 2 - skipped_layers)
    received = arrays(call(pair))
    np.testing.assert_allclose(received["sequence_output"], np.concatenate([first, second], axis=-1), atol=1e-5)
    whole = normalized[np.arange(3), [3, 2, 5]] @ arrays(pair.projection.kernel.value)
    np.testing.assert_allclose(received["projection_output"], whole, atol=1e-5)


def test_contract(pair, tmp_path):
    copy = check_config(pair)
    assert [variable.shape for variable in copy.variables] == [variable.shape for variable in pair.variables]
    check_save(pair, call, tmp_path)
    check_bfloat16(make, lambda pair: call(pair)["sequence_output"])


def test_every_weight_is_kept_also_those_of_skipped_layers(pair):
    names = {variable.path for variable in pair.variables}
    assert len(names) == len(pair.variables) == len(pair.first.variables) + len(pair.second.variables) + 1
    assert {variable.path for variable in pair.first.encoder_layers[-1].variables} < names
    used = keras.Model(pair.input, pair.output["sequence_output"])
    assert not {variable.path for variable in pair.first.encoder_layers[-1].variables} & {
        v.path for v in used.variables
    }


def test_layers_that_are_not_there():
    with pytest.raises(ValueError, match=r"`skipped_layers` must lie in \[0, 1\]. Received: skipped_layers=2"):
        make(skipped_layers=2)
