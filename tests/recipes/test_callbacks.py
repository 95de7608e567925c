import keras
import numpy as np
from harness import compile_quietly, gap, normal, tiny_text_to_image
from PIL import Image

from latentdiff.data.images import image_grid, read_settings
from latentdiff.recipes.callbacks import AveragedWeights, Preview


def test_preview(tmp_path):
    """Every second epoch, the pictures of the weights at that moment, with their settings."""
    pipeline, prompts = tiny_text_to_image(), ["a cat", "a red apple"]
    preview = Preview(pipeline, prompts, tmp_path / "previews", every=2, seed=3, num_steps=2)
    for epoch in range(4):
        preview.on_epoch_end(epoch, {})
        for variable in pipeline.model.unet.trainable_variables:
            variable.assign(1.1 * variable)
    preview.on_train_end({})  # the last epoch was drawn
    paths = sorted((tmp_path / "previews").iterdir())
    assert [path.name for path in paths] == ["epoch_0002.png", "epoch_0004.png"]
    early, late = (np.asarray(Image.open(path)).astype(int) for path in paths)
    assert np.abs(early - late).max() > 2
    for variable in pipeline.model.unet.trainable_variables:
        variable.assign(variable / 1.1)
    expected = image_grid(pipeline.generate(prompts, seed=3, num_steps=2))
    assert np.abs(late - expected).max() <= 2
    assert read_settings(paths[0]) == {"seed": "3", "num_steps": "2"}


def test_the_last_epoch_is_drawn_with_the_averaged_weights(tmp_path):
    pipeline = tiny_text_to_image()
    data = {"latents": normal(0, 4, 4, 4, 3), "captions": ["a cat"] * 4}
    preview = Preview(pipeline, ["a cat"], tmp_path, every=2, num_steps=2)
    compile_quietly(pipeline.model, optimizer=keras.optimizers.Adam(0.03, use_ema=True, ema_momentum=0.5))
    pipeline.model.fit(data, epochs=3, batch_size=2, verbose=0, callbacks=[AveragedWeights(), preview])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0002.png", "epoch_0003.png"]
    late = np.asarray(Image.open(tmp_path / "epoch_0003.png"))
    assert gap(late, pipeline.generate(["a cat"], seed=0, num_steps=2)[0]) == 0
    for variable, value in zip(pipeline.model.trainable_variables, pipeline.model._before_average(), strict=True):
        variable.assign(value)
    assert gap(late, pipeline.generate(["a cat"], seed=0, num_steps=2)[0]) > 2
