"""A tiny vocabulary with the layout of CLIP's, and strings that tokenizers may disagree about."""

import random

START, END = "<|startoftext|>", "<|endoftext|>"
PROMPT, NEGATIVE = "The red apple's cat, in 2024", "a CAT"
# Of 198 tokens, of 121 and of 120.
LONG, SHORTER = (" ".join(f"the red apple's cat, in {year}" for year in range(2001, end)) for end in (2019, 2012))
LONG_NEGATIVE = " ".join(["a CAT in the red"] * 24)
MERGES = ["a p", "ap p", "app l", "appl e</w>", "c a", "ca t</w>", "r e", "re d</w>", "t h", "th e</w>", "i n</w>"]
MERGES += ["2 0", "' s</w>", "! !</w>", "Ã ©</w>", "ð Ł", "ðŁ ĺ", "o u"]


def byte_letters():
    """The letters that stand for the 256 bytes in the files of byte-pair tokenizers, those that can be seen first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in visible] + [chr(256 + index) for index in range(256 - len(visible))]


def vocabulary():
    """Token ids: bytes, bytes that end a word, merges, marks; "!" is 0 and the end mark the largest, as in CLIP."""
    letters = byte_letters()
    tokens = [*letters, *[f"{letter}</w>" for letter in letters], *[merge.replace(" ", "") for merge in MERGES]]
    return {token: index for index, token in enumerate([*tokens, START, END])}


# "\\0" and "६" are left out: they get lost in graphs, see `graph_tokenizer.clip_words`.
PIECES = [
    *["red", "apple", "the cat", "CAT", "Apples", "you're", "it's", "'s", "''", "I'LL", "don't", "o'clock"],
    *["2024", "10", "3d", "x2", "½", "Ⅳ", "٣٤", "²", "1,000.50"],
    *["café", "cafe\u0301", "É", "e\u0301", "Å", "A\u030a", "\u1e69", "ﬁ", "ß", "ÄÖÜ", "İstanbul", "ΟΔΟΣ", "Σ", "ǅ"],
    *["猫", "日本語", "한국어", "ไทย", "हिन्दी", "עברית", "مرحبا", "Привет"],
    *["🙂", "👩‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "🙂🙂"],
    *["!!", "...", "--", "a-b_c", "#tag", "@you", "(x:1.2)", "[a|b]", "<b>", "\\", '"', "$5", "100%", "^^"],
    *[
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\u00a0",
        "\u2003",
        "\u3000",
        "\u200b",
        "\u2028",
        "\x0b",
        "\x0c",
        "\x85",
        "\ufeff",
    ],
    *["\x01", "\x07", "\x1b", "\x1c", "\x1f", "\x7f", "\u00ad", "\ue000", "\ufffd"],
    *[START, END, "<|endoftext", "|>"],
]


def strings(count=1000):
    """Strings of up to eight pieces, the same in each run."""
    rng = random.Random(0)
    return ["".join(rng.choice(PIECES) + rng.choice(["", " "]) for _ in range(rng.randint(0, 8))) for _ in range(count)]
