"""What README.md and docs/ tell people to type works. In the default run a tiny model stands in for the shipped one."""

import ast
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import pytest
from code_blocks import blocks, commands, inline_commands
from harness import tiny_autoencoder, tiny_latent_diffusion, tiny_unet
from PIL import Image

from latentdiff import TextToImage, cli
from latentdiff.commands import preset as preset_command

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
LONG = {"editing.md", "samplers.md"}  # pages that compile many loops
WALK = "stable-diffusion.md"  # its commands need weights that do not ship
SHIPPED_BY_NAME = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != WALK], ids=lambda page: str(page.relative_to(ROOT))
)
PICTURES = {".gif", ".png", ".webp"}
PICTURE_LIMIT, ALL_LIMIT = 400_000, 3_000_000  # bytes


@pytest.fixture(scope="module")
def stand_in():
    keras.utils.set_random_seed(0)
    parts = {"autoencoder": tiny_autoencoder(widths=(8, 8, 8, 8)), "unet": tiny_unet(latent_shape=(8, 8, 3))}
    return TextToImage(tiny_latent_diffusion(**parts), num_steps=2, guidance_scale=2.0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with the few files that pages take for granted."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png", "*.gif", "*.md"))
    for name in ("cat.png", "mask.png"):
        Image.new("RGB", (128, 128), "white").save(tmp_path / name)
    return tmp_path


def run_python(page, slow=()):
    """Runs the Python of a page in one namespace: a block may use what those above it have made."""
    namespace = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python" and not block.mark.startswith("skip") and block.mark in ("", *slow):
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")  # errors name the line of the page
            exec(code, namespace)


# === Python ===


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.slow] * (page.name in LONG))
        for page in PAGES
    ],
)
def test_python_blocks_run(page, here, stand_in, monkeypatch):
    for way in ("from_preset", "from_diffusers"):
        monkeypatch.setattr(TextToImage, way, classmethod(lambda cls, source, **kwargs: stand_in))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The prompt .* was cut")  # the stand-in knows a dozen words
        run_python(page)


@pytest.mark.slow
@SHIPPED_BY_NAME
def test_python_blocks_run_with_the_shipped_model(page, here):
    run_python(page, slow=("slow",))


@PAGES_BY_NAME
def test_python_blocks_that_are_skipped_are_python(page):
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            ast.parse(block.text)


# === Commands ===


def all_commands(page):
    text = page.read_text(encoding="utf-8")
    return [(words, block.mark) for block in blocks(text) for words in commands(block)]


@PAGES_BY_NAME
def test_latentdiff_accepts_each_command(page, capsys):
    text = page.read_text(encoding="utf-8")
    typed = [words for words, _ in all_commands(page)] + inline_commands(text)
    for words in typed:
        if words[0] == "latentdiff":
            try:
                cli._parser().parse_args(words[1:])
            except SystemExit as stop:
                assert not stop.code, f"{' '.join(words)}: {capsys.readouterr().err}"


@SHIPPED_BY_NAME
def test_generate_runs_as_it_is_typed(page, here, stand_in, monkeypatch):
    monkeypatch.setattr(preset_command, "open_preset", lambda name: stand_in)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for words, mark in all_commands(page):
            if words[:2] == ["latentdiff", "generate"] and not mark and "--server" not in words:
                before = written(here)
                assert cli.main(words[1:]) == 0, " ".join(words)
                assert written(here) - before, " ".join(words)


@pytest.mark.slow
def test_the_api_reference_is_made_as_it_is_typed(here):
    pytest.importorskip("pdoc")
    (typed,) = [words for words, _ in all_commands(ROOT / "docs/README.md") if words[0] == "pdoc"]
    subprocess.run([sys.executable, "-m", *typed], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    site = here / typed[typed.index("-o") + 1]
    modules = typed[typed.index("-o") + 2 :]
    assert len(modules) > 20
    for module in modules:
        assert (site / module.replace(".", "/")).with_suffix(".html").is_file(), module
    assert "float32" in (site / "latentdiff/models/unet.html").read_text(encoding="utf-8")


def written(folder):
    """The images in a folder, and when each was written."""
    return {(path, path.stat().st_mtime_ns) for path in folder.rglob("*.*") if path.suffix in PICTURES}


@PAGES_BY_NAME
def test_scripts_have_the_options_that_pages_give_them(page):
    for words, _ in all_commands(page):
        if words[0] != "python":
            continue
        script = ROOT / (words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1])
        assert script.is_file(), " ".join(words)
        source = script.read_text()
        known = set(re.findall(r'"(--[a-z-]+)"', source))
        if "add_options(" in source:  # those of `latentdiff train`
            known |= set(re.findall(r'"(--[a-z-]+)"', (ROOT / "latentdiff/commands/train.py").read_text()))
        own = itertools.takewhile(lambda word: word != "--", words)
        for option in (word for word in own if word.startswith("--")):
            assert option in known, f"{' '.join(words)}: no {option}"


# === Pages ===


@PAGES_BY_NAME
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text):
        if target.startswith(("http://", "https://")):
            continue
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in headings], anchor


def test_pictures_of_the_docs_stay_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs").rglob("*.*") if path.suffix in PICTURES}
    assert max(sizes.values()) < PICTURE_LIMIT and sum(sizes.values()) < ALL_LIMIT, sizes


# === The reader of pages ===


def test_blocks_and_marks_are_found():
    page = """Text with `latentdiff generate "a cat" --seed 7`.

    latentdiff info  # a comment
    cd x && latentdiff info y

<!-- skip: needs a server -->

```python
x = 1
```
- item:

  ```python
  y = 2
  ```
"""
    found = blocks(page)
    assert [(block.language, block.text, block.mark) for block in found[1:]] == [
        ("python", "x = 1", "skip: needs a server"),
        ("python", "y = 2", ""),
    ]
    assert commands(found[0]) == [["latentdiff", "info"], ["latentdiff", "info", "y"]]
    assert inline_commands(page) == [["latentdiff", "generate", "a cat", "--seed", "7"]]


def test_a_wrong_block_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python\nimport latentdiff\nlatentdiff.no_such_name\n```\n")
    with contextlib.suppress(AttributeError):
        run_python(page)
        pytest.fail("a block that raises must fail")
