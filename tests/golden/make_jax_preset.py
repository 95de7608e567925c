"""Makes jax_preset/, a tiny preset trained under JAX, and jax_preset.npz, what it answers there.

KERAS_BACKEND=jax python tests/golden/make_jax_preset.py
"""

import sys
from pathlib import Path

import keras
import numpy as np

FOLDER = Path(__file__).parent
sys.path += [str(FOLDER.parent), str(FOLDER.parents[1])]


def main():
    from harness import arrays, normal, part_answers, preset_pictures, tiny_text_to_image

    if keras.backend.backend() != "jax":
        raise SystemExit("KERAS_BACKEND must be jax.")
    keras.utils.set_random_seed(0)
    pipeline = tiny_text_to_image()
    pipeline.model.compile(keras.optimizers.Adam(1e-3))
    data = {"latents": normal(0, 16, 4, 4, 3), "captions": ["a red apple", "a cat"] * 8}
    pipeline.model.fit(data, epochs=5, batch_size=8, verbose=0)
    pipeline.save_to_preset(FOLDER / "jax_preset")
    answers = arrays(part_answers(pipeline))
    np.savez_compressed(FOLDER / "jax_preset.npz", **answers, pictures=preset_pictures(pipeline))


if __name__ == "__main__":
    main()
