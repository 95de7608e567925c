"""Emoji names and drawings from public npm packages, fetched with the `npm` command."""

import json
import re
import subprocess
import tarfile
import unicodedata

from latentdiff.whole_files import draft_of

STYLES = {
    "noto": ("@iconify-json/noto@1.2.9", "Apache-2.0"),
    "noto classic": ("@iconify-json/noto-v1@1.2.5", "Apache-2.0"),
    "twemoji": ("@iconify-json/twemoji@1.2.5", "CC-BY-4.0"),
    "3d": ("@lobehub/fluent-emoji-3d@1.1.0", "MIT"),
    "gradient": ("@iconify-json/fluent-emoji@1.2.7", "MIT"),
    "flat": ("@iconify-json/fluent-emoji-flat@1.2.6", "MIT"),
    "black and white": ("@iconify-json/fluent-emoji-high-contrast@1.2.6", "MIT"),
    "emojitwo": ("@iconify-json/emojione@1.2.3", "CC-BY-4.0"),
    "fx": ("@iconify-json/fxemoji@1.2.2", "Apache-2.0"),
    "outline": ("@iconify-json/streamline-emojis@1.2.4", "CC-BY-4.0"),
}
COMPONENT_GROUP, FLAG_SUBGROUPS = 2, (98, 99)  # emojibase: skin tones and hair; flags of countries and of regions


def fetch(package, work):
    """Unpacks an npm package below `work`, unless it is there, and returns its folder."""
    folder = work / re.sub(r"\W+", "-", package).strip("-")
    if not folder.exists():
        command = ["npm", "pack", "--silent", package, "--pack-destination", str(work)]
        archive = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        with tarfile.open(work / archive) as tar, draft_of(folder) as draft:
            tar.extractall(draft, filter="data")
    return folder / "package"


def emoji_id(hexcode):
    """Code points joined by "-", in lower case and without the variation selector FE0F."""
    return "-".join(code for code in hexcode.lower().split("-") if code != "fe0f")


def squash(name):
    """A name by its letters and digits alone, to compare names of different sets."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def read_emoji(work):
    """Returns {id: dict of emoji, label, keywords, group} and {squashed name: id}."""
    base = fetch("emojibase-data@17.0.0", work)
    groups = json.loads((base / "meta/groups.json").read_text("utf-8"))["groups"]
    words = json.loads((fetch("emojilib@4.0.3", work) / "dist/emoji-en-US.json").read_text("utf-8"))
    words = {emoji.replace("\ufe0f", ""): keywords for emoji, keywords in words.items()}
    emoji, names, old_names = {}, {}, {}
    for entry in json.loads((base / "en/data.json").read_text("utf-8")):
        if entry.get("group", COMPONENT_GROUP) == COMPONENT_GROUP or entry["subgroup"] in FLAG_SUBGROUPS:
            continue
        key, label = emoji_id(entry["hexcode"]), entry["label"].lower()
        keywords = entry.get("tags", []) + words.get(entry["emoji"].replace("\ufe0f", ""), [])
        keywords = dict.fromkeys(word.replace("_", " ") for word in keywords if squash(word) != squash(label))
        group = groups[str(entry["group"])]
        emoji[key] = {"emoji": entry["emoji"], "label": label, "keywords": list(keywords), "group": group}
        names[squash(label)] = key
        if "-" not in key:
            old_names[squash(unicodedata.name(chr(int(key, 16)), ""))] = key
    for path in sorted((base / "en/shortcodes").glob("*.json")):
        for code, aliases in json.loads(path.read_text("utf-8")).items():
            for alias in [aliases] if isinstance(aliases, str) else aliases:
                if emoji_id(code) in emoji:
                    names.setdefault(squash(alias), emoji_id(code))
    return emoji, old_names | names


def svg(icons, name, size):
    """One icon of an iconify set, aliases followed, as an SVG document of `size` x `size` pixels."""
    icon = icons["icons"].get(name)
    if icon is None:
        alias = icons["aliases"][name]
        mirror = f'<g transform="translate({icons["width"]} 0) scale(-1 1)">' if alias.get("hFlip") else "<g>"
        return svg(icons, alias["parent"], size).replace("<g>", mirror, 1)
    left, top, width, height = (icon.get(k, icons.get(k, 0)) for k in ("left", "top", "width", "height"))
    box = f'width="{size}" height="{size}" viewBox="{left} {top} {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><g>{icon["body"]}</g></svg>'


def drawings(style, names, work, size):
    """Returns {id: function that gives the bytes of the image} for one style.

    Vector sets are drawn at `size` pixels. They are keyed by their own list of characters or else by name.
    """
    folder = fetch(STYLES[style][0], work)
    if not (folder / "icons.json").exists():
        return {emoji_id(path.stem): path.read_bytes for path in (folder / "assets").glob("*.webp")}
    import resvg_py

    icons = json.loads((folder / "icons.json").read_text("utf-8"))
    found = {emoji_id(code): name for code, name in json.loads((folder / "chars.json").read_text("utf-8")).items()}
    for name in [] if found else [*icons["icons"], *icons.get("aliases", {})]:
        key = names.get(squash(name)) or names.get(squash(name.removesuffix("-1")))
        found.setdefault(key, name)
    return {
        key: lambda name=name: bytes(resvg_py.svg_to_bytes(svg_string=svg(icons, name, size)))
        for key, name in found.items()
    }
