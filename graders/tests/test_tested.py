"""Tests of the tests: no public name and no check is left out, and no error is without words."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import graders
from graders.errors import CourseError
from graders.tests.test_bad_input import CHECKS
from graders.tests.test_seam import CHECKS_OF

# Why these are no sentence for whoever runs a command.
INTERNAL = {
    "_Newer": "raised and caught where a progress file is read",
    "CheckFailed": "a student sees it as a card; the message of `CourseError` is for a terminal",
    "Rejected": "a check raises it, and `check` makes a CheckFailed of it",
    "RegionError": "the reader of lessons makes a problem of a SourceError of it",
    "NotRecorded": "raised and caught where words are asked for; the suspicion then stands",
    "Unreadable": "it is the remark of a row in the class report",
    "Unknown": "raised in the student's process alone; the sandbox is then Unavailable",
    "OutputLimit": "an error of an answer: the student's process sends it as plain data",
    "NotAFunction": "an error of an answer: the student's process sends it as plain data",
    "NoArrays": "an error of an answer: the student's process sends it as plain data",
    "TooLarge": "an error of an answer: the student's process sends it as plain data",
    "Refused": "collecting makes a line of the log of it",
    "TooLong": "it ends our own work on an answer: its check fails and is flagged",
    "TooFewDevices": "an error of an answer: the student's process sends it as plain data",
    "ProtocolError": "the trusted side takes it as the end of a process",
}

ALL_CHECKS = {name for name in graders.__all__ if name.startswith("check_")}
# The examples in docstrings run there, and so every name is called: that is no test of it.
MODULES = [p for p in Path(__file__).parent.glob("test_*.py") if p.name != "test_examples.py"]


def called_in(source: str) -> set[str]:
    """The names of the package that a module calls; an exception counts where one is expected."""
    tree = ast.parse(source)
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and _is_ours(n.module)]
    ours = {alias.asname or alias.name for node in imports for alias in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {name for call in calls for name in _of(call, ours)}


def _is_ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] == "graders"


def _of(call: ast.Call, ours: set[str]) -> Iterator[str]:
    function = call.func
    if isinstance(function, ast.Name) and function.id in ours:
        yield function.id
    elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        if function.value.id in ours:  # progress.progress()
            yield function.attr
        elif function.attr == "raises":  # pytest.raises(CheckFailed)
            yield from (a.id for a in call.args if isinstance(a, ast.Name) and a.id in ours)


def test_calls_are_found() -> None:
    source = "from graders import a, b, C\nfrom graders.x import m\nfrom other import d\n"
    source += "a(1)\nprint(b)\nd(2)\nm.e(3)\n'b(1)'\n"
    assert called_in(source) == {"a", "e"}
    assert called_in(source + "with pytest.raises(C):\n    f()") == {"a", "e", "C"}


def test_every_public_name_is_called_in_a_test() -> None:
    called = set().union(*(called_in(path.read_text()) for path in MODULES))
    assert set(graders.__all__) - called == set()


def test_every_check_is_given_bad_input() -> None:
    assert {f"check_{name}" for name in CHECKS} == ALL_CHECKS


def test_every_check_judges_an_answer_in_a_second_process() -> None:
    calls = (node for cell in CHECKS_OF.values() for node in ast.walk(ast.parse(cell)))
    names = {n.func.id for n in calls if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert ALL_CHECKS - names == set()


def exceptions() -> dict[str, type[BaseException]]:
    """Every class of exception that a module of the package defines."""
    found = {}
    for module in pkgutil.walk_packages(graders.__path__, "graders."):
        if ".tests" not in module.name and not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, type) and issubclass(value, BaseException):
                    found |= {name: value} if value.__module__ == module.name else {}
    return found


def test_every_error_is_a_sentence_for_the_user_or_stays_inside() -> None:
    found = exceptions()
    assert "SourceError" in found
    assert {name for name, c in found.items() if not issubclass(c, CourseError)} == set(INTERNAL)
