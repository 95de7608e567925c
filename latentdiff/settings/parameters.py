"""The settings of an image as other programs write them into PNGs, in the text chunk `parameters`.

The text is a prompt, perhaps a line `Negative prompt: ...`, and a last line of `Name: value` pairs. No standard has it;
Stable Diffusion web UI (AUTOMATIC1111) wrote it first.
"""

import json
import re
from pathlib import Path

from latentdiff.settings.foreign_prompts import from_foreign, to_foreign
from latentdiff.settings.table import GUIDANCE_SCALE, NUM_STEPS, SEED, STRENGTH
from latentdiff.version import __version__

CHUNK = "parameters"
NEGATIVE = "Negative prompt: "
SAMPLER = "Sampler"
# What samplers are called there.
SAMPLER_NAMES = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "lcm": "LCM",
    "unipc": "UniPC",
}
NUMBERS = {"Steps": NUM_STEPS, "CFG scale": GUIDANCE_SCALE, "Seed": SEED, "Denoising strength": STRENGTH}
PAIR = re.compile(r'(\w[\w \-/]{0,60}):[ ]?("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
LORA = re.compile(r" ?<lora:([^:<>]{1,200}):([^:<>]{1,20})>")
MIN_PAIRS = 3  # a last line of fewer belongs to the prompt


def to_parameters(record, image_size):
    """The text of one image.

    Args:
        record: what `Request.record` returns; it may also have `preset` and `lora`, a list of FILE:SCALE.
        image_size: (height, width).
    """
    files = [adapter.rpartition(":") for adapter in record.get("lora", ())]
    adapters = [f"<lora:{Path(path).stem}:{scale}>" for path, _, scale in files]
    lines = [" ".join([to_foreign(record["prompt"]), *adapters])]
    if record.get("negative_prompt"):
        lines.append(NEGATIVE + to_foreign(record["negative_prompt"]))
    pairs = {name: f"{record[row.key]:.10g}" for name, row in NUMBERS.items() if row.key in record}
    if "sampler" in record:
        pairs[SAMPLER] = _sampler_name(record["sampler"])
    pairs["Size"] = f"{image_size[1]}x{image_size[0]}"
    if "preset" in record:
        pairs["Model"] = Path(record["preset"]).name
    pairs["Version"] = f"latentdiff {__version__}"
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items())])


def from_parameters(text):
    """The settings in such a text.

    Returns:
        settings: dict by the keys of the table, as in a prompts file; prompts have the syntax of `prompt_syntax`.
        others: dict of what has no counterpart here, by its name in the text: "Size", "Model", unknown samplers, values
            out of bounds; and "lora", a list of NAME:SCALE.

    Raises:
        ValueError: a prompt that is too long for a request.
    """
    body, pairs = _split(text)
    prompt, _, negative = body.partition("\n" + NEGATIVE) if not body.startswith(NEGATIVE) else ("", "", body)
    adapters = [":".join(found) for found in LORA.findall(prompt)]
    others = {**pairs, **({"lora": adapters} if adapters else {})}
    settings = {"prompt": from_foreign(LORA.sub("", prompt))}
    if negative:
        settings["negative_prompt"] = from_foreign(negative.removeprefix(NEGATIVE))
    for name, row in NUMBERS.items():
        try:
            settings[row.key] = row.parse(pairs[name])
            del others[name]
        except (KeyError, ValueError):
            pass
    names = {name: key for key, name in SAMPLER_NAMES.items()}
    if pairs.get(SAMPLER) in names:
        settings["sampler"] = names[others.pop(SAMPLER)]
    return settings, others


def _sampler_name(sampler):
    name = sampler["name"] if isinstance(sampler, dict) else sampler
    return SAMPLER_NAMES.get(name, str(name))


def _split(text):
    """The text without its last line, and the pairs in that."""
    lines = text.strip().split("\n")
    pairs = {name: _plain(value) for name, value in PAIR.findall(lines[-1])}
    return ("\n".join(lines[:-1]), pairs) if len(pairs) >= MIN_PAIRS else ("\n".join(lines), {})


def _quoted(value):
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\n"]', value) else value


def _plain(value):
    try:
        return json.loads(value) if value.startswith('"') else value.strip()
    except ValueError:
        return value
