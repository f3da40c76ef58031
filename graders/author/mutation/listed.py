"""`mutants.toml` of a lesson: what the mutation run accepts, each with the reason.

[[equivalent]]
exercise = "cut_off"
mutant = "constant: line 3: 0 -> 1"
reason = "Either is the identity for the maximum of a row."
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from graders.author.mutation.mutant import Mutant
from graders.lesson.problems import Problem, SourceError

FILE = "mutants.toml"
KEYS = {"equivalent": "mutant", "one_value": "parameter"}
"""The tables, and what each names beside the exercise and the reason."""


@dataclass(frozen=True)
class Listed:
    """The entries of one lesson: for each, the reason."""

    path: Path
    reasons: dict[str, str]  # by the name of a mutant
    one_value: dict[tuple[str, str], str]  # by exercise and parameter

    def __contains__(self, mutant: Mutant) -> bool:
        return mutant.name in self.reasons

    def stale(self, mutants: Sequence[Mutant]) -> list[str]:
        """The entries that name no mutant."""
        made = {mutant.name for mutant in mutants}
        return [name for name in self.reasons if name not in made]


def read_listed(folder: Path) -> Listed:
    """What the lesson in `folder` lists; nothing where it has no such file.

    Raises:
        SourceError: the file is not TOML, or an entry lacks a key or a reason.
    """
    path = folder / FILE
    if not path.exists():
        return Listed(path, {}, {})
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SourceError([Problem(path, 1, f"it is not TOML: {error}", "correct it")]) from None
    for table, entries in content.items():
        keys = {"exercise", KEYS.get(table), "reason"}
        if type(entries) is not list or not all(
            set(entry) == keys and all(entry.values()) for entry in entries
        ):
            what = "it may hold [[equivalent]] tables of exercise, mutant and reason, and "
            what += "[[one_value]] tables of exercise, parameter and reason"
            raise SourceError([Problem(path, 1, what, "give each the three keys, none empty")])
    mutants, single = (content.get(table, []) for table in KEYS)
    return Listed(
        path,
        {f"{one['exercise']}: {one['mutant']}": one["reason"] for one in mutants},
        {(one["exercise"], one["parameter"]): one["reason"] for one in single},
    )
