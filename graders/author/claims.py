"""What remains a claim of the student's process, exercise by exercise, read from the check cells.

`python -m graders.author.claims` prints the list that stands in docs/claims.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from graders.lesson.cells import Lesson
from graders.lesson.source import read_lesson
from graders.root import course_root
from graders.values.jax_internals import CUSTOM_RULES, LOOPS, REMATERIALISED

CLAIMS = {
    "check_pure": "purity",
    "check_traces": "number of traces",
    "check_donates": "donation",
    "check_sharding": "where arrays lie",
    "check_keys": "that no key is used twice",
    "check_batched": "that `jax.vmap` gave the batch",
}
"""By the name of a check, what it takes on trust."""
HEADER = "| lesson | exercise | what is taken on trust |\n|---|---|---|"


def claims_of(source: str) -> list[str]:
    r"""What a check cell takes on trust, in the order of its lines.

    Example:
        >>> claims_of("check_values(f, np.sin, cases)\ncheck_pure(f, 1.0)")
        ['purity']
    """
    found = (what for node in ast.walk(ast.parse(source)) for what in _of(node))
    return list(dict.fromkeys(found))


def _of(node: ast.AST) -> Iterator[str]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return
    if node.func.id in CLAIMS:
        yield CLAIMS[node.func.id]
    elif node.func.id == "check_primitives":
        yield from _of_primitives(node)


def _of_primitives(call: ast.Call) -> Iterator[str]:
    """What no operation of an exported program shows."""
    named = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg in _NAMING}
    every, forbidden = set().union(*named.values()), named.get("forbids", ())
    if every & set(CUSTOM_RULES):
        yield "that no custom derivative rule is used"
    if every & set(REMATERIALISED):
        yield "that `jax.checkpoint` is used"
    if 0 < len(set(LOOPS) & set(forbidden)) < len(LOOPS):
        yield "which kind of loop it is"


_NAMING = ("requires", "forbids")


def claims(lessons: Iterable[Lesson]) -> str:
    """The list, as a table in Markdown."""
    rows = [HEADER]
    for lesson in lessons:
        for name in lesson.exercises:
            sources = [cell.source for cell in lesson.checks if cell.check == name]
            found = dict.fromkeys(what for source in sources for what in claims_of(source))
            if found:
                rows.append(f"| {lesson.name} | `{name}` | {', '.join(found)} |")
    return "\n".join(rows)


def main() -> None:
    """Prints the list for all lessons."""
    folders = sorted((course_root() / "solutions").glob("[0-9]*"))
    print(claims(map(read_lesson, folders)))


if __name__ == "__main__":
    main()
