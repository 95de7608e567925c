import keras
import numpy as np
from harness import compile_quietly, normal, tiny_text_to_image
from PIL import Image

from latentdiff.callbacks import Preview
from latentdiff.images import image_grid, read_settings


def test_preview(tmp_path):
    """Every second epoch, the pictures of the weights at that moment, with their settings."""
    pipeline, prompts = tiny_text_to_image(), ["a cat", "a red apple"]
    preview = Preview(pipeline, prompts, tmp_path / "previews", every=2, seed=3, num_steps=2)
    # Without a moving average the weights after fit are those that the last preview saw.
    model = compile_quietly(pipeline.model, optimizer=keras.optimizers.SGD(0.5))
    data = {"latents": normal(0, 2, 4, 4, 3), "captions": prompts}
    model.fit(data, epochs=4, callbacks=[preview], verbose=0)
    paths = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert paths == ["epoch_0002.png", "epoch_0004.png"]
    early, late = (np.asarray(Image.open(tmp_path / "previews" / name)) for name in paths)
    assert np.abs(early.astype(int) - late).max() > 2
    np.testing.assert_array_equal(late, image_grid(pipeline.generate(prompts, seed=3, num_steps=2)))
    assert read_settings(tmp_path / "previews" / paths[0]) == {"seed": "3", "num_steps": "2"}
