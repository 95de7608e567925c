"""The code in Markdown pages, and whether it can be run.

A comment in front of a block says what a reader need not see: `<!-- skip: REASON -->` for a block that can't be run
here (its commands are still parsed), `<!-- slow -->` for one that takes long.
"""

import re
import shlex
from typing import NamedTuple

FENCE = re.compile(r"^( *)```(\w*)$")
MARK = re.compile(r"^ *<!-- (skip: .+|slow) -->$")
INLINE = re.compile(r"`(latentdiff [^`\n]* [-\"][^`\n]*)`")


class Block(NamedTuple):
    """A piece of code: its language ("" for indented text), the line where it begins, text, and why it is not run."""

    language: str
    line: int
    text: str
    mark: str


def blocks(markdown):
    """The fenced and the indented (by four spaces or more, after an empty line) blocks of a page, in order."""
    lines, found, mark, index = markdown.splitlines(), [], "", 0
    while index < len(lines):
        line, fence, start = lines[index], FENCE.match(lines[index]), index
        if fence:
            end = next(row for row in range(index + 1, len(lines)) if lines[row].strip() == "```")
            text = "\n".join(row[len(fence[1]) :] for row in lines[index + 1 : end])
            found.append(Block(fence[2], start + 2, text, mark))
            index, mark = end + 1, ""
        elif line.startswith("    ") and (index == 0 or not lines[index - 1].strip()):
            while index < len(lines) and lines[index].startswith("    "):
                index += 1
            found.append(Block("", start + 1, "\n".join(row[4:] for row in lines[start:index]), mark))
            mark = ""
        else:
            mark = MARK.match(line)[1] if MARK.match(line) else mark if not line.strip() else ""
            index += 1
    return found


def inline_commands(markdown):
    """`latentdiff ...` commands with arguments inside of paragraphs, as lists of words."""
    return [shlex.split(text) for text in INLINE.findall(re.sub(r"\n(?=\S)", " ", markdown))]


def commands(block):
    """The commands of a block, as lists of words, without comments; lines that end in a backslash go on."""
    if block.language not in ("", "console", "sh", "bash"):
        return []
    text = block.text.replace("\\\n", " ")
    return [shlex.split(part, comments=True) for line in text.splitlines() for part in _split(line)]


def _split(line):
    starts = ("latentdiff ", "pdoc ", "python -m training", "python -m benchmarks", "python benchmarks/")
    return [part.strip() for part in line.split("&&") if part.strip().startswith(starts)]
