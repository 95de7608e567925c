"""Prompts that say how much their parts count: `(red:1.3) apple`, and mixtures: `red apple:0.7 | green apple:0.3`.

`(TEXT:NUMBER)` makes the words of TEXT count NUMBER times as much; groups may be nested, and multiply. A prompt whose
parts, between bars, all end in `:NUMBER` is a mixture in these proportions. All else is plain text, parentheses and
bars included; a backslash in front of ( ) | : takes a special meaning from it.
"""

import dataclasses
import re

from latentdiff.settings.table import MAX_PROMPT_BYTES

MAX_WEIGHT = 10.0
MAX_DEPTH = 20  # of weights in weights
NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
WEIGHTED = re.compile(rf"(?P<text>(?:\\.|[^\\])*):\s*(?P<weight>{NUMBER})\s*", re.DOTALL | re.IGNORECASE)
ENDING = re.compile(rf":\s*(?P<weight>{NUMBER})\s*\)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the prompts that a mixture has, or the only one.

    Attributes:
        share: its share in the mixture; all shares sum to 1.
        pieces: tuple of (text, weight).
    """

    share: float
    pieces: tuple

    @property
    def text(self):
        """The text without weights."""
        return "".join(text for text, _ in self.pieces)

    @property
    def weighted(self):
        """Whether any words count more or less than others do."""
        return any(weight != 1.0 for _, weight in self.pieces)


def parse(prompt, name="prompts"):
    """The parts of a prompt, a list of `Part`s; parts of a mixture with share 0 are left out.

    Args:
        prompt: str.
        name: of the argument that it came in, for errors.

    Raises:
        ValueError: a weight outside [0, 10], a mixture of which only some parts have one, or whose weights are all 0.
    """
    size = len(prompt.encode("utf-8", "replace"))
    if size > MAX_PROMPT_BYTES:
        raise ValueError(
            f"`{name}` must have at most {MAX_PROMPT_BYTES} bytes. Received: {size} bytes, {prompt[:40]!r}..."
        )
    try:
        return _parts(prompt)
    except ValueError as error:
        literal = f"; to take the text as it stands, write {escape(prompt)!r}" if len(prompt) <= 200 else ""
        raise ValueError(f"`{name}` has {error}{literal}. Received: {prompt!r}") from None


def escape(text):
    """`text` with a backslash in front of all that has a meaning in prompts."""
    return re.sub(r"([()|:\\])", r"\\\1", text)


def blend(prompts, weights):
    """The prompt that mixes `prompts` in the proportions `weights`; the prompts may have weighted words themselves.

    Raises:
        ValueError: not as many weights as prompts, or fewer than two.
    """
    if len(prompts) != len(weights) or len(prompts) < 2:
        raise ValueError(
            f"`weights` must be one for each of 2 prompts or more. Received: {len(weights)} for {len(prompts)} prompts"
        )
    return " | ".join(f"{prompt}:{float(weight)}" for prompt, weight in zip(prompts, weights, strict=True))


def _parts(prompt):
    texts = _split(prompt)
    matches = [WEIGHTED.fullmatch(text) for text in texts]
    if len(texts) == 1 or not any(matches):
        return [Part(1.0, _pieces(prompt))]
    if not all(matches):
        missing = texts[matches.index(None)].strip()
        raise ValueError(f"a mixture with a part that has no weight, {missing!r}: write TEXT:NUMBER | TEXT:NUMBER")
    weights = [_number(match["weight"]) for match in matches]
    if not sum(weights):
        raise ValueError("a mixture whose weights are all 0")
    return [
        Part(weight / sum(weights), _pieces(match["text"].strip()))
        for weight, match in zip(weights, matches, strict=True)
        if weight
    ]


def _split(prompt):
    """What stands between the bars."""
    bars = [match.start() for match in re.finditer(r"\\.|\|", prompt, re.DOTALL) if match[0] == "|"]
    edges = [-1, *bars, len(prompt)]
    return [prompt[start + 1 : end] for start, end in zip(edges, edges[1:], strict=False)]


def _number(text):
    number = float(text)
    if not 0.0 <= number <= MAX_WEIGHT:
        raise ValueError(f"a weight outside [0, {MAX_WEIGHT:g}], {text}")
    return number


def _pieces(text):
    """Tuple of (text, weight) without backslashes; neighbours of the same weight are joined, empty ones left out."""
    pieces = []
    for piece, weight in _raw_pieces(text):
        piece = re.sub(r"\\([()|:\\])", r"\1", piece)
        if pieces and pieces[-1][1] == weight:
            pieces[-1] = (pieces[-1][0] + piece, weight)
        elif piece:
            pieces.append((piece, weight))
    return tuple(pieces)


def _raw_pieces(text):
    """Yields (text, weight) with backslashes, in one pass: a prompt of parentheses alone must not take seconds."""
    groups = _groups(text)
    edges = [(opening, opening + 1, weight) for opening, _, _, weight in groups]
    edges += [(colon, closing + 1, None) for _, colon, closing, _ in groups]
    weights, place = [1.0], 0
    for edge, behind, weight in sorted(edges, key=lambda edge: edge[0]):
        yield text[place:edge], weights[-1]
        if weight is None:
            weights.pop()
        elif len(weights) > MAX_DEPTH:
            raise ValueError(f"weights nested more than {MAX_DEPTH} deep")
        else:
            weights.append(weights[-1] * _number(weight))
        place = behind
    yield text[place:], weights[-1]


def _groups(text):
    """The places of `(`, `:` and `)` and the weight of each group with a weight."""
    opened, endings, groups = [], {}, []
    for token in re.finditer(r"\\.|[():]", text, re.DOTALL):
        place = token.start()
        if token[0] == "(":
            opened.append(place)
        elif token[0] == ")" and opened:
            opening = opened.pop()
            if place in endings:
                groups.append((opening, endings[place].start(), place, endings[place]["weight"]))
        elif token[0] == ":" and (ending := ENDING.match(text, place)):
            endings[ending.end() - 1] = ending
    return groups
