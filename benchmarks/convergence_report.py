"""Table and plot of `benchmarks/samplers.py`."""

import importlib.util
import json
from pathlib import Path

from latentdiff.whole_files import replaced, write_text

SCORES = {"frechet": "Frechet distance", "kid_x1000": "KID x 1000"}
FORMATS = {"frechet": "{:.2f}", "kid_x1000": "{:.2f}"}


def write_report(results, folder, plot=False):
    """Writes `samplers.json` and `samplers.md`, and with `plot` `samplers.png` where matplotlib is installed.

    Args:
        results: dict of `settings`, `facts` and `rows`; a row has `sampler`, `calls` and the scores.
        folder: an existing one.

    Returns:
        str, the Markdown, and below it where there is no plot.
    """
    folder = Path(folder)
    write_text(folder / "samplers.json", json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    write_text(folder / "samplers.md", text)
    if not plot:
        return text
    if importlib.util.find_spec("matplotlib") is None:
        return text + "\nThere is no plot, since matplotlib is not installed: the same command draws it where it is."
    draw(results, folder / "samplers.png")
    return text


def markdown(results):
    """One table a score: a line for each sampler, a column for each number of calls; the best of a column is bold."""
    settings = ", ".join(f"{name} {value}" for name, value in results["settings"].items() if value is not None)
    blocks = [f"Settings: {settings}."]
    for score, title in SCORES.items():
        blocks += [f"{title}, by denoiser calls per image:", _table(results["rows"], score)]
    facts = results["facts"]
    note = f"Both are distances from {facts['num_real']} real training images; the prompts are captions of such."
    if "held_out" in facts:
        held_out = facts["held_out"]
        scores = ", ".join(f"{title} {held_out[score]:.2f}" for score, title in SCORES.items())
        note += f" {held_out['number']} real images that were held out of training have: {scores}."
    return "\n\n".join([*blocks, note]) + "\n"


def _table(rows, score):
    counts = sorted({row["calls"] for row in rows})
    values = {(row["sampler"], row["calls"]): row[score] for row in rows}
    names = list(dict.fromkeys(row["sampler"] for row in rows))
    best = {count: min(values[name, count] for name in names if (name, count) in values) for count in counts}

    def cell(name, count):
        if (name, count) not in values:
            return ""
        text = FORMATS[score].format(values[name, count])
        return f"**{text}**" if values[name, count] == best[count] else text

    lines = [["sampler", *map(str, counts)], ["---"] * (1 + len(counts))]
    lines += [[name, *(cell(name, count) for count in counts)] for name in names]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(results, path):
    """The scores against the number of calls, one panel a score, both axes logarithmic where the values allow it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (score, title) in zip(figure.subplots(1, len(SCORES)), SCORES.items(), strict=True):
        for name in dict.fromkeys(row["sampler"] for row in results["rows"]):
            points = sorted((row["calls"], row[score]) for row in results["rows"] if row["sampler"] == name)
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        axes.set(xlabel="denoiser calls per image", ylabel=title, xscale="log")
        if all(row[score] > 0 for row in results["rows"]):
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with replaced(path) as draft:
        figure.savefig(draft, dpi=120)
