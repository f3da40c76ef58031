"""What the marker of a cell may say."""

from collections.abc import Callable, Iterator
from typing import Any

from graders.lesson.percent import RawCell
from graders.lesson.problems import Finding

ANSWER_KINDS = ("code", "prediction", "recall")

# By the key that gives a cell its role: the keys that may stand beside it.
_ALLOWED = {
    "exercise": {"exercise", "kind", "tags"},
    "check": {"check", "part", "points", "tags"},
    "hints": {"hints", "tags"},
    "wrong": {"wrong", "says"},
    "right": {"right"},
}


def role_of(cell: RawCell, roles: tuple[str, ...]) -> str | None:
    """The first of `roles` that the cell's marker names."""
    return next((role for role in roles if role in cell.keys), None)


def usable_keys(cell: RawCell, role: str | None, problems: list[Finding]) -> dict[str, Any]:
    """The keys that are known beside `role` and have a fitting value; the others are reported."""
    allowed = _ALLOWED.get(role or "", {"tags"})
    problems.extend(_unusable(cell, allowed))
    return {k: v for k, v in cell.keys.items() if k in allowed and _VALUES[k][0](v)}


def _unusable(cell: RawCell, allowed: set[str]) -> Iterator[Finding]:
    for key, value in cell.keys.items():
        if key not in allowed:
            fix = f"keys for this marker are {', '.join(sorted(allowed))}"
            yield Finding(cell.line, f"{key}={value!r} does not belong in this marker", fix)
        elif not _VALUES[key][0](value):
            meant = _VALUES[key][1]
            yield Finding(cell.line, f"{key}={value!r} is not {meant}", f"make it {meant}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_word(value: Any) -> bool:
    return _is_name(value) and value.isascii() and value.islower()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_points(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_kind(value: Any) -> bool:
    return value in ANSWER_KINDS


def _are_tags(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "exercise": (_is_name, "a name that the cell binds"),
    "kind": (_is_kind, "one of " + ", ".join(ANSWER_KINDS)),
    "check": (_is_name, "the name of an exercise"),
    "part": (_is_word, "a word in small letters"),
    "points": (_is_points, "a whole number above 0"),
    "hints": (_is_name, "the name of an exercise"),
    "tags": (_are_tags, 'a list like ["raises-exception"]'),
    "wrong": (_is_name, "the name of an exercise"),
    "right": (_is_name, "the name of an exercise"),
    "says": (_is_text, "a part of the diagnosis"),
}
