"""Text as it can be shown: unseen characters, and those that turn text round, are written out."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"
"""Of some scripts and of emoji: invisible, and harmless within a text."""
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) beyond the categories above.
_IGNORABLE = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)),
    (0x2800, 0x2800),  # a Braille cell without dots
)


def is_unseen(letter: str) -> bool:
    """Whether the character draws nothing of its own; blanks are not among them."""
    number = ord(letter)
    return unicodedata.category(letter) in _UNSEEN or any(a <= number <= b for a, b in _IGNORABLE)


def written_out(text: str, keep: str = "") -> str:
    r"""The text with an escape such as `\x1b` for each unseen character that is not in `keep`.

    Example:
        >>> written_out("a\x1b[2J\u202eb")
        'a\\x1b[2J\\u202eb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter in keep or not is_unseen(letter) else _escape(letter) for letter in text
    )


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
