import dataclasses

import pytest

from latentdiff.recipes.experiment import Experiment
from latentdiff.recipes.experiments import NAMES, load_experiment


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"batchsize": 8}, "`Experiment` has no `batchsize`: did you mean `batch_size`.*Received: batchsize=8"),
        ({"zzz": 8}, "`Experiment` has no `zzz`: known are .*batch_size"),
        (
            {"autoencoder": {"latent_chanels": 8}},
            "`autoencoder` has no .*did you mean `latent_channels`",
        ),
        ({"network": {"width": (8,)}}, "`network` has no `width`: did you mean `widths`"),
        ({"noise_schedule": {"knd": "cosine"}}, "`noise_schedule` has no `knd`: did you mean `kind`"),
        ({"generate": {"steps": 3}}, "`generate` has no `steps`: did you mean `num_steps`"),
        ({"batch_size": 8.0}, "`batch_size` must be of type int. Received: batch_size=8.0"),
        ({"batch_size": True}, "`batch_size` must be of type int"),
        ({"schedule": "linear"}, "`schedule` must be one of .*cosine.*Received: schedule='linear'"),
        ({"batch_size": 0}, "`batch_size` must be at least 1. Received: batch_size=0"),
        ({"learning_rate": "1e-4"}, "`learning_rate` must be of type float or int"),
        ({"learning_rate": float("nan")}, "`learning_rate` must not be negative. Received: learning_rate=nan"),
        ({"seed": -1}, "`seed` must not be negative. Received: seed=-1"),
        ({"ema": 1.5}, r"`ema` must lie in \[0, 1\]"),
        ({"captions": ["a cat"]}, "`captions` must be of type Callable"),
        ({"preview_prompts": "a cat"}, "`preview_prompts` must be of type Sequence or NoneType"),
        ({"network": [("widths", 8)]}, "`network` must be of type dict"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**fields)
    with pytest.raises(ValueError, match=message):
        Experiment().replace(**fields)


def test_every_field_is_documented_and_used():
    import inspect
    import re
    from pathlib import Path

    import latentdiff.recipes

    source = inspect.getsource(Experiment)
    folder = Path(latentdiff.recipes.__file__).parent
    recipes = "".join(path.read_text() for path in folder.glob("*.py") if path.stem != "experiment")
    for field in dataclasses.fields(Experiment):
        assert re.search(rf'    {field.name}: .*\n    """[A-Z`]', source), field.name
        assert f"experiment.{field.name}" in recipes, field.name


def test_parts_may_be_dataclasses():
    @dataclasses.dataclass
    class Schedule:
        kind: str = "linear"
        zero_terminal_snr: bool = True

    assert Experiment(noise_schedule=Schedule()).noise_schedule == {"kind": "linear", "zero_terminal_snr": True}


def test_each_built_in_experiment_loads_and_quick_is_shorter():
    assert "my_pictures" in NAMES
    for name in NAMES:
        whole, quick = (load_experiment(name, flag) for flag in (False, True))
        assert quick.epochs * quick.passes < whole.epochs * whole.passes


def write(path, text):
    path.write_text(text)
    return path


def test_a_file_is_an_experiment(tmp_path):
    text = "from latentdiff.recipes.experiment import Experiment\ndef get_experiment(quick):\n"
    path = write(tmp_path / "mine.py", text + "    return Experiment(epochs=1 if quick else 5)\n")
    assert load_experiment(path).epochs == 5 and load_experiment(str(path), quick=True).epochs == 1


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "`experiment` must be a file that exists"),
        ("x = 1", r"must define a function `get_experiment\(quick\)`"),
        ("def get_experiment(quick):\n    return {}", "must return an `Experiment`. Received: a dict"),
        ("def get_experiment(quick):\n    return epochs", "wrong.py, line 2: NameError: name 'epochs'"),
        ("def get_experiment(quick:", "wrong.py.*SyntaxError"),
        ("import no_such_module_here", "wrong.py, line 1: ModuleNotFoundError"),
    ],
)
def test_a_wrong_file_is_named(text, message, tmp_path):
    if text is not None:
        write(tmp_path / "wrong.py", text)
    with pytest.raises(ValueError, match=message):
        load_experiment(tmp_path / "wrong.py")


def test_a_misspelt_name_is_told():
    with pytest.raises(ValueError, match="must be one of .*Did you mean 'my_pictures'.*='my_picture'"):
        load_experiment("my_picture")
