"""What a name of a student, a folder or a file may be, and how any text is shown.

A name comes from whoever hands in. nbgrader reads it as a pattern, a terminal as commands, a
spreadsheet as a formula: what would be more than text to one of them is refused or escaped.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from graders.values.visible import is_unseen, written_out

LONGEST = 100  # characters; the gradebook holds 128
_PATTERN = "*?[]\\"
_LEADING = "=+-@."
_RESERVED = {"all", "total"}  # rows and columns of the reports
_SCRIPTS = {"LATIN", "CYRILLIC", "GREEK"}  # with letters that look alike


def fault(name: str) -> str:
    """Why the name is refused, and what to do; "" where it is not."""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "the name is not UTF-8: rename the folder"
    # Characters that draw nothing, or turn round what stands beside them: with them one name can
    # look like another.
    if any(is_unseen(letter) for letter in name):
        return "the name has a control character or an invisible one: rename the folder"
    if found := [letter for letter in _PATTERN if letter in name]:
        return f"the name has {found[0]}, which nbgrader takes for a pattern: rename the folder"
    if name.startswith(tuple(_LEADING)):
        return f"the name begins with {name[0]}: rename the folder"
    if name != name.strip():
        return "the name begins or ends with a blank: rename the folder"
    if any(letter.isspace() and letter != " " for letter in name):
        return "the name has a blank of another kind than the usual one: rename the folder"
    if len(_SCRIPTS.intersection(map(_script, name))) > 1:
        return "the name mixes Latin, Greek or Cyrillic letters: rename the folder"
    if name.casefold() in _RESERVED:
        return f"the reports have a line of their own for {name}: rename the folder"
    if len(name) > LONGEST:
        return f"the name has more than {LONGEST} characters: rename the folder"
    return ""


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0] if letter.isalpha() else ""


def alike(names: Iterable[str]) -> dict[str, list[str]]:
    """Of names that differ only in case, or in how one and the same accent is encoded: each, with
    the others.

    Not every file system and database keeps them apart, and no reader does.
    """
    groups = defaultdict(list)
    for name in sorted(names):
        groups[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return {
        name: [other for other in group if other != name]
        for group in groups.values()
        for name in group
        if len(group) > 1
    }


def shown(text: str) -> str:
    """The text on one line, for a terminal or a report: what cannot be seen is written out."""
    return written_out(text)


def encodable(text: str) -> str:
    """The text with a question mark for each half of a character, which no file could hold."""
    return text.encode("utf-8", "replace").decode()


def cell(text: str) -> str:
    """The text as a cell of a CSV file that no spreadsheet takes for a formula.

    A quotation mark is put before the characters that begin one, as OWASP's page on CSV injection
    says.
    """
    text = shown(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
