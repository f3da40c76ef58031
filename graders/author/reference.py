"""docs/checks.md: one section for each name that a check cell may use, from its docstring."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import graders
from graders.card.messages import REQUIREMENTS

INTRODUCTION = """\
# Checks

<!-- Made by `jax-course build` from the docstrings of graders/. Change those, not this file. -->

A check cell calls checks; [the lesson format](lesson-format.md#check-cells) says what else may
stand in it. The name of a check is the requirement that the student's answer must meet. Each check
takes the student's object first, as it is, and raises `CheckFailed` where the requirement is not
met. Shape and dtype are compared before values, and nothing is broadcast.

In the examples `jax`, `jnp`, `np` and `functools.partial` are imported, beside the names of
`graders`. A test runs them."""

OTHERS = """\
## Beside the checks

Inputs, oracles, devices, data, handles on what an answer returns, and what a notebook can show of a
function."""

SECTIONS = ("Args", "Raises", "Example")


def reference() -> str:
    """The whole page: the checks in the order of `REQUIREMENTS`, then the other public names."""
    others = [name for name in graders.__all__ if name not in REQUIREMENTS]
    parts = [INTRODUCTION, _contents(REQUIREMENTS, others)]
    parts += ["## The checks", *(_entry(name) for name in REQUIREMENTS)]
    parts += [OTHERS, *(_entry(name) for name in others)]
    return "\n\n".join(parts) + "\n"


def _contents(checks: dict[str, str], others: list[str]) -> str:
    rows = [f"| [`{name}`](#{name}) | {words} |" for name, words in checks.items()]
    links = ", ".join(f"[`{name}`](#{name.lower()})" for name in others)
    table = "\n".join(["| check | the card says that the answer |", "|---|---|", *rows])
    return f"{table}\n\nBeside these: {links}."


def _entry(name: str) -> str:
    """The section of one name: signature, summary, arguments, errors, example."""
    public = getattr(graders, name)
    text, sections = _sections(inspect.getdoc(public) or "")
    parts = [f"### {name}", _code(_signature(name, public)), text]
    parts += [_items(title, sections[title]) for title in ("Args", "Raises") if title in sections]
    parts += [_code(_example(sections["Example"]), "pycon")] if "Example" in sections else []
    return "\n\n".join(parts)


def _sections(doc: str) -> tuple[str, dict[str, str]]:
    """What stands above the sections of a docstring, and the body of each section."""
    text, *rest = re.split(rf"(?m)^({'|'.join(SECTIONS)}):\n", doc)
    bodies = (textwrap.dedent(body).strip("\n") for body in rest[1::2])
    return text.rstrip(), dict(zip(rest[::2], bodies, strict=True))


def _signature(name: str, public: Callable[..., Any]) -> str:
    """The call with the names and defaults of its parameters; their types where it has them."""
    if inspect.isclass(public):
        return f"class {name}"
    signature = inspect.signature(public)
    parts, keyword_only = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
        keyword_only |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        parts.append(_parameter(parameter))
    one_line = f"{name}({', '.join(parts)})"
    if len(one_line) <= 88:
        return one_line
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), ")"])


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    # Every check wraps what it is given into a subject: a caller hands in any object.
    kind = {"Subject": "Any"}.get(str(parameter.annotation), parameter.annotation)
    return f"{stars}{parameter.name}: {kind}{_default(parameter.default)}"


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f" = {json.dumps(value) if isinstance(value, str) else repr(value)}"


def _items(title: str, body: str) -> str:
    """A list of `name: what it is`, each of which may go on over indented lines."""
    lines = [f"- `{name}`: {words}" for name, words in _named(body)]
    return "\n".join([f"**{title}**", "", *lines])


def _named(body: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?=\S)", body):
        name, _, words = entry.partition(":")
        yield name, " ".join(words.split())


def _example(text: str) -> str:
    """The example without what only doctest reads."""
    return re.sub(r"  # doctest: .*", "", text)


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"
