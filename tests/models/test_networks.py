import keras
import numpy as np
import pytest
from harness import arrays, first_fast, needs_tensorflow, normal, randomize, tiny_latent_diffusion, tiny_unet

from latentdiff import TextToImage
from latentdiff.models import networks

CHANNELS = 3


def functional(num_tokens=None, **extra):
    """A network of three layers that looks at the mean of the text alone, and takes no mask."""
    inputs = {
        "noisy_latents": keras.Input((4, 4, CHANNELS), name="noisy_latents"),
        "timesteps": keras.Input((), name="timesteps"),
        "context": keras.Input((num_tokens, 12), name="context"),
        **extra,
    }
    text = keras.layers.Dense(CHANNELS)(keras.layers.GlobalAveragePooling1D()(inputs["context"]))
    time = keras.layers.Dense(CHANNELS)(keras.layers.Reshape((1, 1, 1))(inputs["timesteps"] / 1000.0))
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same")(inputs["noisy_latents"])
    x = x + keras.layers.Reshape((1, 1, CHANNELS))(text) + time
    for value in extra.values():
        x = x + keras.layers.Reshape((1, 1, CHANNELS))(keras.layers.Dense(CHANNELS)(value))
    return keras.Model(inputs, x)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A network in the imperative style, whose weights are made when it is first called."""

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv_in = keras.layers.Conv2D(width, 3, padding="same", activation="silu")
        self.conv_out = keras.layers.Conv2D(CHANNELS, 3, padding="same")
        self.text = keras.layers.Dense(width)

    def call(self, inputs):
        padding = keras.ops.cast(keras.ops.logical_not(inputs["context_mask"]), "float32")[..., None]
        text = self.text(keras.ops.mean((1.0 - padding) * inputs["context"], axis=1))
        x = self.conv_in(inputs["noisy_latents"]) + text[:, None, None, :]
        return self.conv_out(x * (1.0 + inputs["timesteps"][:, None, None, None] / 1000.0))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


NETWORKS = {"functional": functional, "functional of fixed length": lambda: functional(8), "subclassed": Subclassed}
DATA = {"latents": normal(0, 4, 4, 4, CHANNELS), "captions": ["a cat", "red", "", "a red apple"]}


def make(network, **settings):
    model = tiny_latent_diffusion(unet=network, **settings)
    model.compile(keras.optimizers.SGD(0.05), run_eagerly=keras.backend.backend() == "tensorflow")
    return model


def trained(name, **settings):
    """A pipeline around a network that was trained for a step, and got random weights."""
    model = make(NETWORKS[name](), **settings)
    assert np.isfinite(model.fit(DATA, verbose=0).history["loss"]).all()
    randomize(model.network)
    return TextToImage(model, image_size=(8, 8), num_steps=3)


@pytest.mark.parametrize("name", first_fast(NETWORKS))
def test_any_model_trains_samples_and_is_kept_in_a_preset(name, tmp_path):
    pipeline = trained(name, context_dropout=0.5)
    pictures = pipeline.generate(["a cat", "a red apple"], seed=1)
    assert pictures.shape == (2, 8, 8, 3)
    assert (pictures[0] != pictures[1]).any()
    pipeline.save_to_preset(tmp_path / "preset")
    opened = TextToImage.from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(opened.generate(["a cat", "a red apple"], seed=1), pictures)
    pipeline.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for mine, other in zip(loaded.network.get_weights(), pipeline.model.network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("name", ["functional", "subclassed"])
def test_any_model_is_exported(name, tmp_path):
    """Both exports check themselves; what the network does not take is not in them."""
    from latentdiff.export.litert import parts

    pipeline = trained(name)
    pipeline.export(tmp_path / "1")
    pipeline.export_litert(tmp_path / "edge")
    made = parts.parts(pipeline, 8, 2, False)
    assert ("context_mask" in made["denoiser"].inputs) == (name == "subclassed")


def test_what_else_the_network_names_comes_from_the_data():
    model = make(functional(sizes=keras.Input((2,), name="sizes")), context_dropout=1.0)
    assert model.conditioning_names == ("context", "sizes")
    data = {**DATA, "sizes": normal(1, 4, 2)}
    model.fit(data, verbose=0)
    with pytest.raises(ValueError, match="`data` must hold 'captions', 'token_ids' or 'context', 'sizes'"):
        model.fit(DATA, verbose=0)
    seen = {"sizes": data["sizes"], "token_ids": model.text_encoder.tokenize(DATA["captions"])}
    received = arrays(model._conditioning(seen, training=True))
    np.testing.assert_array_equal(received["sizes"], data["sizes"])
    assert np.ptp(received["context"], axis=0).max() < 1e-6  # all captions are dropped


def test_a_network_for_fewer_tokens():
    """The same weights, and the same answer where the other tokens were padding."""
    unet, spec = randomize(tiny_unet(num_tokens=8)), tiny_latent_diffusion().conditioning_spec
    assert networks.with_conditioning(unet, spec(8)) is unet
    short = networks.with_conditioning(unet, spec(5))
    assert short.num_tokens == 5
    inputs = {"noisy_latents": normal(0, 1, 4, 4, 3), "timesteps": np.array([300.0], "float32")}
    context, mask = normal(1, 1, 8, 12), np.arange(8)[None] < 4
    expected = unet({**inputs, "context": context, "context_mask": mask})
    received = short({**inputs, "context": context[:, :5], "context_mask": mask[:, :5]})
    np.testing.assert_allclose(received, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"`num_tokens` can't be other.*`context` of shape \(None, 5, 12\)"):
        networks.with_conditioning(functional(8), spec(5))


def lists():
    latents, timesteps = keras.Input((4, 4, CHANNELS)), keras.Input(())
    outputs = keras.layers.Conv2D(CHANNELS, 1)(latents) + timesteps[:, None, None, None]
    return keras.Model([latents, timesteps], outputs)


def wrong_output():
    network = functional()
    return keras.Model(network.input, keras.layers.Conv2D(2 * CHANNELS, 1)(network.output))


@pytest.mark.parametrize(
    "network, message",
    [
        (lists, "`unet` must take a dict with .'noisy_latents', 'timesteps'."),
        (wrong_output, r"`unet` must give a prediction of shape \(None, None, None, 3\).*\(None, 4, 4, 6\)"),
    ],
)
def test_networks_that_do_not_fit(network, message):
    with pytest.raises(ValueError, match=message):
        tiny_latent_diffusion(unet=network())
