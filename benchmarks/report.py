"""Writes what was measured: JSON for programs, Markdown for readers, contact sheets for the eye."""

import json
from pathlib import Path

from latentdiff.data.images import image_grid, save_png
from latentdiff.whole_files import write_text

# (title, key of a row, format) of the columns of each table.
TABLES = {
    "pictures": [
        ("prompts", "prompts", "{}"),
        ("pictures", "pictures", "{}"),
        ("number", "number", "{}"),
        ("joint", "joint", "{:.3f}"),
        ("within style", "within_style", "{:.3f}"),
        ("emoji in 5", "emoji_at_5", "{:.3f}"),
        ("style", "style", "{:.3f}"),
        ("KID x 1000", "kid_x1000", "{:.1f}"),
        ("Frechet", "frechet", "{:.1f}"),
        ("wrong copies", "wrong_copies", "{:.3f}"),
        ("distance from training", "median_copy_distance", "{:.3f}"),
    ],
    "reconstruction": [
        ("pictures", "pictures", "{}"),
        ("number", "number", "{}"),
        ("median PSNR, dB", "psnr_median", "{:.2f}"),
        ("lowest", "psnr_lowest", "{:.2f}"),
        ("mean LPIPS", "lpips_mean", "{:.4f}"),
        ("highest", "lpips_highest", "{:.4f}"),
    ],
    "diversity": [
        ("pictures", "pictures", "{}"),
        ("prompts", "number", "{}"),
        ("images per prompt", "seeds", "{}"),
        ("mean pairwise LPIPS", "diversity", "{:.3f}"),
        ("lowest prompt", "diversity_lowest", "{:.3f}"),
    ],
}
NOTES = {
    "pictures": (
        "joint: the nearest of all real images (cosine of features) has the asked emoji and the asked style; within "
        "style: the nearest of the asked style has the asked emoji; emoji in 5: one of the five nearest has the asked "
        "emoji; KID and Frechet distance: from {num_real} real training images (Frechet is biased upwards by few "
        "images); wrong copies: nearer to a training image of another emoji than {threshold:.4f}, which 98 % of "
        "the real validation images keep; distance from training: median over the images of the cosine distance "
        "from it."
    ),
    "reconstruction": "PSNR of 8-bit images; LPIPS with AlexNet.",
    "diversity": "LPIPS of all pairs of images of one prompt, averaged over prompts.",
}


class Report:
    """Collects rows and answers, and writes `quality.json`, `quality.md` and sheets into a folder.

    Args:
        folder: str or path, made if needed.
        settings: dict of what the run was asked for, kept in the JSON and shown in the Markdown.
    """

    def __init__(self, folder, settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.settings = dict(settings)
        self.facts = {}
        self.rows = {name: [] for name in TABLES}
        self.answers = {}

    def add(self, table, **row):
        """Adds a row to a table, and writes all that there is so far."""
        self.rows[table].append(row)
        self.write()

    def add_answers(self, part, answers):
        """Keeps what each prompt of a part got, a list of dicts."""
        self.answers[part] = answers
        self.write()

    def sheet(self, name, images, columns):
        """Writes uint8 images (n, height, width, 3) as one contact sheet, row by row."""
        save_png(self.folder / f"{name}.png", image_grid(images, columns=columns))

    def write(self):
        content = {"settings": self.settings, "facts": self.facts, "tables": self.rows, "answers": self.answers}
        write_text(self.folder / "quality.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_text(self.folder / "quality.md", self.markdown())

    def markdown(self):
        """All tables that have rows, as Markdown."""
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        blocks = [f"Settings: {settings}."] if settings else []
        for name, columns in TABLES.items():
            if self.rows[name]:
                blocks.append(_table(columns, self.rows[name]))
                blocks.append(NOTES[name].format(**self.facts))
        return "\n\n".join(blocks) + "\n"


def _table(columns, rows):
    """A Markdown table of the columns that any row fills."""
    columns = [column for column in columns if any(column[1] in row for row in rows)]
    lines = [[title for title, _, _ in columns], ["---"] * len(columns)]
    lines += [[form.format(row[key]) if key in row else "" for _, key, form in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
