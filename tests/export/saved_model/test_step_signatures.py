"""A client that calls `start`, `denoise` and `advance` gets the images of `generate`."""

import numpy as np
import pytest
from harness import needs_tensorflow

from latentdiff import ImageToImage
from latentdiff.diffusion.samplers import SAMPLERS
from latentdiff.export.saved_model.signatures import _graph
from latentdiff.export.saved_model.step_signatures import STEP_SIGNATURES, step_signatures

pytestmark = needs_tensorflow

PROMPTS = ["a red apple", "cat"]
LEVELS = 2


class Signature:
    """A function of named tensors with the defaults that a server fills in."""

    def __init__(self, run, names, defaults):
        self.run, self.names, self.defaults = run, names, defaults

    def __call__(self, values):
        """The answers to those of the values that it takes."""
        import tensorflow as tf

        inputs = {name: tf.constant(values.get(name, self.defaults.get(name))) for name in self.names}
        return {name: value.numpy() for name, value in self.run(**inputs).items()}


@pytest.fixture(scope="module")
def signatures(served):
    """Those of the file, by name."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    loaded = tf.saved_model.load(str(served))
    saved = saved_model_pb2.SavedModel.FromString((served / "saved_model.pb").read_bytes())
    made = {"keep": loaded}
    for name, run in loaded.signatures.items():
        told = saved.meta_graphs[0].signature_def[name]
        made[name] = Signature(run, list(told.inputs), {k: tf.make_ndarray(v) for k, v in told.defaults.items()})
    return made


def unsaved(function, specs, defaults):
    """A signature that is in no file."""
    graph, names = _graph(function, specs, defaults), [spec.name for spec in specs]
    return Signature(lambda **values: graph(*(values[name] for name in names)), names, defaults)


def host(signatures, functions, count, values):
    """Images by the loop of a client, for prompts and empty negative prompts."""
    texts = signatures["encode_text"]({"prompts": PROMPTS[:count] + [""] * count})
    members = {name: value for name, value in texts.items() if name != "warnings"}
    values = {**values, **functions["start"](values)}
    while (values["step"] < values["num_steps"]).any():
        twice = {name: np.concatenate([values[name]] * 2) for name in ("noisy_latents", "timesteps")}
        answer = signatures["denoise"]({**twice, **members})["prediction"]
        values["prediction"], values["negative_prediction"] = np.split(answer, 2)
        values |= functions["advance"](values)
    return signatures["decode"]({"latents": values["noisy_latents"]})["images"].astype(int), values


def test_the_loop_of_a_client(pipeline, signatures):
    settings = {"num_steps": [3, 5], "guidance_scale": [1.0, 4.0]}
    arrays = {"num_steps": np.array([3, 5], "int32"), "guidance_scale": np.array([1.0, 4.0], "float32")}
    images, values = host(signatures, signatures, 2, {"seeds": np.array([3, 4], "int32"), **arrays})
    expected = pipeline.generate(PROMPTS, seed=[3, 4], **settings)
    assert np.abs(images - expected).max() <= LEVELS and expected.std() > 10
    assert values["warnings"].tolist() == [b"", b""]


def test_image_to_image(pipeline, signatures):
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype("uint8")
    latents = signatures["encode_image"]({"images": image})["latents"]
    begin = {"seeds": np.array([4], "int32"), "num_steps": np.array([5], "int32"), "latents": latents}
    begin |= {"first_step": np.array([5 * (1.0 - 0.55)], "float32")}
    images, _ = host(signatures, signatures, 1, begin)
    theirs = ImageToImage.from_pipeline(pipeline)
    expected = theirs.generate(PROMPTS[0], images=image[0], seed=4, num_steps=5, strength=0.55)
    assert np.abs(images[0] - expected).max() <= LEVELS


def test_what_is_left_out_is_the_default_and_a_drawn_seed_is_told(pipeline, signatures):
    begun = signatures["start"]({"seeds": np.array([-1, -1, -1, 5], "int32")})
    seeds = begun["seeds"].tolist()
    assert seeds[3] == 5 and len(set(seeds)) == 4 and all(0 <= seed < 1_000_000 for seed in seeds)
    assert begun["num_steps"].tolist() == [pipeline.num_steps] * 4 and begun["warnings"].tolist() == [b""] * 4


def test_what_is_out_of_bounds_is_told(signatures):
    values = {"seeds": np.array([1], "int32"), "num_steps": np.array([99], "int32")}
    begun = signatures["start"]({**values, "first_step": np.array([np.nan], "float32")})
    assert begun["num_steps"].tolist() == [20]
    assert (
        b"`num_steps` must be a whole number from 1 to 20" in begun["warnings"][0]
        and b"`first_step`" in begun["warnings"][0]
    )
    assert np.isfinite(begun["noisy_latents"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "unipc"])
def test_samplers_that_remember(name, pipeline, signatures):
    parts = step_signatures(pipeline, SAMPLERS[name](), 20)
    functions = {key: unsaved(*part) for key, part in parts.items()}
    values = {"seeds": np.array([3, 4], "int32"), "num_steps": np.array([4, 2], "int32")}
    images, _ = host(signatures, functions, 2, {**values, "guidance_scale": np.array([3.0, 2.0], "float32")})
    expected = pipeline.generate(PROMPTS, seed=[3, 4], num_steps=[4, 2], guidance_scale=[3.0, 2.0], sampler=name)
    assert np.abs(images - expected).max() <= LEVELS


def test_a_sampler_that_asks_twice_a_step_has_no_such_signatures(pipeline):
    assert step_signatures(pipeline, SAMPLERS["heun"](), 20) == {}
    assert set(step_signatures(pipeline, SAMPLERS["ddim"](), 20)) == set(STEP_SIGNATURES)
