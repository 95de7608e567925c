"""Prior preservation (DreamBooth): images of the model itself beside those of the data."""

import keras
import numpy as np
import pytest
from harness import arrays, assert_close, first_fast, largest_change, normal, tiny_text_to_image
from tiny_run import write_experiment

from latentdiff import TextToImage
from latentdiff.data.latent_cache import load_latents
from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.prior import with_prior
from latentdiff.recipes.run import Run

PRIOR = {"prompt": "a cat", "num_images": 3, "weight": 0.25}


@pytest.fixture
def mixed(pipeline, tmp_path):
    """Function () -> transform that joins a batch of zeros, of token ids 1, and the prior."""
    run = Run(Experiment(prior=PRIOR), tmp_path)

    def draw(batch, rng):
        count = len(batch["rows"])
        return {"latents": np.zeros((count, 4, 4, 3), "float32"), "token_ids": np.ones((count, 8), "int32")}

    return lambda: with_prior(draw, pipeline, run)


def test_half_of_a_batch_are_images_of_the_model_with_their_caption_and_weight(mixed, pipeline, tmp_path):
    batch = mixed()({"rows": np.arange(6)}, np.random.default_rng(0))
    made = batch["loss_weights"] == 0.25
    assert made.sum() == 6 and (batch["loss_weights"][~made] == 1.0).all()
    assert np.diff(made).sum() > 1  # shuffled, since timesteps go by the place in the batch
    assert (batch["latents"][~made] == 0.0).all() and (batch["token_ids"][~made] == 1).all()
    assert (batch["token_ids"][made] == pipeline.model.text_encoder.tokenize(["a cat"])).all()
    images = pipeline.generate("a cat", num_images=3, seed=0)
    expected = arrays(pipeline.model.autoencoder.encode(images))
    for row in batch["latents"][made]:
        assert np.abs(expected - row).max(axis=(1, 2, 3)).min() < 1e-4
    assert (tmp_path / "prior.png").is_file()


def test_a_resumed_run_reads_them_again(mixed, pipeline, tmp_path, monkeypatch):
    first = mixed()({"rows": np.arange(2)}, np.random.default_rng(0))
    monkeypatch.setattr(pipeline, "generate", lambda *args, **options: pytest.fail("generated again"))
    assert_close(mixed()({"rows": np.arange(2)}, np.random.default_rng(0)), first, 0.0)


def test_the_loss_is_the_mean_of_weighted_rows(adaptable):
    """Weights 1 and w of two rows give the loss of row one plus w times that of row two, over two."""
    data = {"latents": normal(0, 2, 4, 4, 3), "captions": ["a cat", "a red apple"]}

    def loss(*weights):
        outputs = adaptable({**data, "loss_weights": np.array(weights, "float32")})
        return float(adaptable.compute_loss(y_pred=outputs))

    adaptable.compile()
    plain = float(adaptable.compute_loss(y_pred=adaptable(data)))
    assert loss(1.0, 1.0) == pytest.approx(plain, rel=1e-5)
    assert loss(1.0, 0.3) == pytest.approx(loss(1.0, 0.0) + 0.3 * loss(0.0, 1.0), rel=1e-5)
    assert loss(1.0, 0.0) + loss(0.0, 1.0) == pytest.approx(plain, rel=1e-5)


def test_fit_takes_weights(adaptable):
    data = {"latents": normal(0, 4, 4, 4, 3), "captions": ["a cat"] * 4, "loss_weights": np.zeros(4, "float32")}
    before = adaptable.unet.get_weights()
    adaptable.compile(keras.optimizers.SGD(1.0), run_eagerly=keras.backend.backend() == "tensorflow")
    adaptable.fit(data, batch_size=4, verbose=0)
    assert largest_change(before, adaptable.unet.get_weights()) == 0.0


@pytest.mark.parametrize("options", first_fast([(["--lora-rank", "2"],), ([],)]), ids=["lora", "network"])
def test_the_command_trains_with_a_prior(options, stage, folder, tmp_path, eagerly):
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    write_experiment(tmp_path / "experiment.py", 1e-2, passes=1, epochs=1)
    stage("latents", "--data", folder, "--init", tmp_path / "start")
    prior = ["--prior-prompt", "a cat", "--prior-images", "2", "--prior-weight", "0.5"]
    stage("diffusion", "--init", tmp_path / "start", *prior, *options)
    start = TextToImage.from_preset(tmp_path / "start").model
    latents, records = load_latents(tmp_path / "run", "prior", start.autoencoder)
    assert latents.shape == (2, 1, 4, 4, 3) and records[1][0]["caption"] == "a cat"
    assert (tmp_path / "run" / ("lora.safetensors" if options else "preset")).exists()


def test_a_prior_needs_its_prompt(stage, capsys, tmp_path):
    write_experiment(tmp_path / "experiment.py", 1e-2)
    tiny_text_to_image().save_to_preset(tmp_path / "start")
    stage("diffusion", "--init", tmp_path / "start", "--prior-images", "2", code=2)
    assert "--prior-prompt must be given with" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`prior` must have `prompt`"):
        Experiment(prior={"weight": 1.0})
