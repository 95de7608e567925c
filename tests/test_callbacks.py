import numpy as np
from harness import tiny_text_to_image
from PIL import Image

from latentdiff.callbacks import Preview
from latentdiff.images import image_grid, read_settings


def test_preview(tmp_path):
    """Every second epoch, the pictures of the weights at that moment, with their settings."""
    pipeline, prompts = tiny_text_to_image(), ["a cat", "a red apple"]
    preview = Preview(pipeline, prompts, tmp_path / "previews", every=2, seed=3, num_steps=2)
    for epoch in range(4):
        preview.on_epoch_end(epoch, {})
        for variable in pipeline.model.unet.trainable_variables:
            variable.assign(1.1 * variable)
    paths = sorted((tmp_path / "previews").iterdir())
    assert [path.name for path in paths] == ["epoch_0002.png", "epoch_0004.png"]
    early, late = (np.asarray(Image.open(path)).astype(int) for path in paths)
    assert np.abs(early - late).max() > 2
    for variable in pipeline.model.unet.trainable_variables:
        variable.assign(variable / 1.1)
    expected = image_grid(pipeline.generate(prompts, seed=3, num_steps=2))
    assert np.abs(late - expected).max() <= 2
    assert read_settings(paths[0]) == {"seed": "3", "num_steps": "2"}
