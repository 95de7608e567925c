import json
from pathlib import Path

import pytest
from harness import first_fast

from latentdiff import DiT, UNet
from latentdiff.models.sizes import SIZES, build_network

SHIPPED = Path(__file__).parents[2] / "saved_models" / "emoji-128" / "config.json"


@pytest.mark.parametrize("size", first_fast(["tiny", "tiny-dit", "emoji-128-dit", "dit-s/8"], 2))
def test_rows_build(size):
    network = build_network(size, (16, 16, 4), 12)
    assert type(network) is {"unet": UNet, "dit": DiT}[SIZES[size]["network"]]
    assert network.output.shape == (None, 16, 16, 4)


def test_the_shipped_row_is_the_shipped_network():
    config = json.loads(SHIPPED.read_text())["config"]["unet"]["config"]
    row = build_network("emoji-128", config["latent_shape"], config["context_dim"], config["num_tokens"])
    copy = UNet.from_config({name: value for name, value in config.items() if name != "dropout"})
    differing = {"name", "dropout", "trainable", "dtype"}
    assert {key: value for key, value in row.get_config().items() if key not in differing} == {
        key: value for key, value in copy.get_config().items() if key not in differing
    }


def test_changes_of_a_row():
    network = build_network("tiny-dit", (4, 4, 3), 12, num_tokens=8, depth=1)
    assert (network.depth, network.num_tokens) == (1, 8)


def test_unknown_size():
    with pytest.raises(ValueError, match="`size` must be one of .*'sd15'.*Received: size='huge'"):
        build_network("huge", (4, 4, 3), 12)
