"""Prior preservation (DreamBooth): images that the model makes itself are trained on, too, so that it keeps them."""

import logging

import keras
import numpy as np

from latentdiff.data.images import image_grid, save_png
from latentdiff.data.latent_cache import has_latents, load_latents, save_latents
from latentdiff.models.compilation import compile_function

SPLIT, SHOWN = "prior", 64
DEFAULTS = {"num_images": 200, "weight": 1.0}
log = logging.getLogger(__name__)


def with_prior(draw, pipeline, run):
    """A `transform` of `Batches`: the rows of `draw`, and as many of images that the model made before training.

    Args:
        draw: function `(batch, rng) -> dict` of `latents` and `token_ids`.
        pipeline: `TextToImage` around the model, not trained yet.
        run: `Run`; `run.experiment.prior` has `prompt`, `num_images` and `weight`. Its folder gets the latents of the
            images, `latents_prior`, which a resumed run reads again, and `prior.png`, the first of them.

    Returns:
        `(batch, rng) -> dict` with `loss_weights`, too: 1 for images of the data, `weight` for those of the model. The
        rows are shuffled, since timesteps go by their place.

    Reference: Ruiz et al., DreamBooth, 2022, arXiv:2208.12242, section 3.2.
    """
    prior = {**DEFAULTS, **run.experiment.prior}
    latents = _latents(pipeline, run, prior["prompt"], prior["num_images"])
    token_ids = pipeline.model.text_encoder.tokenize([prior["prompt"]])

    def draw_both(batch, rng):
        own = draw(batch, rng)
        count = len(own["latents"])
        made = {"latents": latents[rng.integers(len(latents), size=count)], "token_ids": np.repeat(token_ids, count, 0)}
        both = {name: np.concatenate([own[name], made[name]]) for name in made}
        both["loss_weights"] = np.repeat(np.array([1.0, prior["weight"]], "float32"), count)
        order = rng.permutation(2 * count)
        return {name: values[order] for name, values in both.items()}

    return draw_both


def _latents(pipeline, run, prompt, num_images):
    """float32 (num_images, h, w, channels) of images that the model makes for a prompt, from the folder of the run."""
    autoencoder, seed = pipeline.model.autoencoder, run.experiment.seed
    told = [[{"caption": prompt, "seed": seed + index}] for index in range(num_images)]
    if has_latents(run.output, SPLIT):
        latents, records = load_latents(run.output, SPLIT, autoencoder)
        if records == told:
            return np.asarray(latents)[:, 0]
    log.info("prior: %d images of %r", num_images, prompt)
    images = pipeline.generate(prompt, num_images=num_images, seed=seed).reshape(num_images, *pipeline.image_size, 3)
    save_png(run.output / f"{SPLIT}.png", image_grid(images[:SHOWN]), {"prompt": prompt, "seed": seed})
    encode = compile_function(autoencoder.encode, autoencoder)
    parts = [encode(images[start : start + 16]) for start in range(0, num_images, 16)]
    latents = np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])
    save_latents(run.output, SPLIT, autoencoder, pipeline.image_size, latents[:, None], told)
    return latents
