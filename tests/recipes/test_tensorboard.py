"""What TensorBoard shows of a run: read back by TensorBoard's own reader."""

import io

import keras
import numpy as np
import pytest
from harness import compile_quietly, tiny_latent_diffusion
from PIL import Image

from latentdiff.data.batches import Batches
from latentdiff.recipes.tensorboard import TensorBoard

make_ndarray = pytest.importorskip("tensorboard.util.tensor_util").make_ndarray
accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
pytest.importorskip("tensorflow")


def test_losses_rate_throughput_and_previews(tmp_path):
    model = compile_quietly(tiny_latent_diffusion(), optimizer=keras.optimizers.Adam(1e-3))
    token_ids = model.text_encoder.tokenize(["a cat"] * 6)
    batches = Batches({"latents": np.zeros((6, 4, 4, 3), "float32"), "token_ids": token_ids}, batch_size=2)
    (tmp_path / "previews").mkdir()
    grid = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    Image.fromarray(grid).save(tmp_path / "previews/epoch_0002.png")
    board = TensorBoard(tmp_path / "events", batches, tmp_path / "previews")
    callbacks = [batches.epoch_callback(), board]
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0, callbacks=callbacks).history
    read = accumulators.EventAccumulator(str(tmp_path / "events"), {"tensors": 0, "images": 0})
    read.Reload()
    values = {
        name: [make_ndarray(event.tensor_proto) for event in read.Tensors(name)] for name in read.Tags()["tensors"]
    }
    assert {"loss", "learning_rate", "images_per_second", "images_seen", "previews"} == set(values)
    assert values["loss"] == pytest.approx(history["loss"])
    assert values["images_seen"] == [6, 12]
    assert values["learning_rate"] == pytest.approx([1e-3, 1e-3])
    assert min(values["images_per_second"]) > 0.0
    shown = values["previews"][0][2]  # behind width and height
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown))), grid)
