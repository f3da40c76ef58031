"""Lesson 15 raises every class of `jax.errors` that student code can raise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from graders.lesson.cells import Cell, Lesson
from graders.lesson.source import read_lesson
from graders.root import course_root

LESSON = read_lesson(course_root() / "solutions" / "15_debugging")

# Why the lesson raises no specimen of these.
EXEMPT = {
    "JAXTypeError": "the base of the type errors: JAX raises its subclasses",
    "JAXIndexError": "the base of the index errors: JAX raises its subclasses",
    "JaxprTypeError": "an invalid jaxpr: a bug in JAX, or in code that builds jaxprs by hand",
}


def classes_of(module: ModuleType) -> set[str]:
    """The exception classes that a module exports."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, BaseException) and name[0] != "_"
    }


def answers_of(lesson: Lesson, exercise: str) -> list[dict[str, Callable[..., Any]]]:
    """What the solution and the other right answers of an exercise return."""
    cell = lesson.exercises[exercise]
    imports = [c for c in lesson.cells if c.is_given and c.index < cell.index and is_imports(c)]
    others = [entry.source for entry in lesson.right if entry.exercise == exercise]
    return [
        answer([c.source for c in imports], source, exercise) for source in (cell.source, *others)
    ]


def is_imports(cell: Cell) -> bool:
    return "import jax\n" in cell.source


def answer(imports: list[str], source: str, exercise: str) -> dict[str, Callable[..., Any]]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for code in (*imports, source):
        exec(compile(code, f"<{exercise}>", "exec"), namespace)
    result: dict[str, Callable[..., Any]] = namespace[exercise]()
    return result


def raised_by(function: Callable[..., Any], *args: Any) -> str | None:
    """The class of `jax.errors` that a call raises; None for another error, or none.

    It goes by the name: what a symbolic dimension raises is a subclass of the same name.
    """
    try:
        function(*args)
    except Exception as error:
        name = type(error).__name__
        return name if isinstance(error, getattr(jax.errors, name, ())) else None
    return None


def raised_under_jit(function: Callable[..., Any]) -> str | None:
    return raised_by(jax.jit(function), jnp.array([1, 2, 3], jnp.int32))


def complaints(
    classes: Iterable[str], raised: Iterable[str | None], exempt: Iterable[str]
) -> list[str]:
    """The classes that are neither raised nor exempt, and the exemptions without an object."""
    classes, raised, exempt = set(classes), set(raised), set(exempt)
    return [
        *(f"{name}: no specimen in lesson 15" for name in sorted(classes - raised - exempt)),
        *(f"{name}: exempt, and not in jax.errors" for name in sorted(exempt - classes)),
        *(f"{name}: exempt, and raised all the same" for name in sorted(exempt & raised)),
    ]


HOW = {"tracing_errors": raised_under_jit, "other_errors": raised_by}


@pytest.mark.parametrize("exercise", HOW)
def test_each_answer_raises_what_its_key_says(exercise: str) -> None:
    for functions in answers_of(LESSON, exercise):
        assert {name: HOW[exercise](function) for name, function in functions.items()} == {
            name: name for name in functions
        }


def test_every_class_of_jax_errors_is_raised_or_exempt() -> None:
    raised = {
        HOW[exercise](function)
        for exercise in HOW
        for function in answers_of(LESSON, exercise)[0].values()
    }
    assert complaints(classes_of(jax.errors), raised, EXEMPT) == []


def test_every_class_of_jax_errors_is_named_in_the_text() -> None:
    text = "\n".join(cell.source for cell in LESSON.cells if cell.kind == "markdown")
    assert [name for name in sorted(classes_of(jax.errors)) if f"`{name}`" not in text] == []


def test_a_class_that_jax_gains_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax.errors, "NewError", type("NewError", (TypeError,), {}), raising=False)
    found = complaints(
        classes_of(jax.errors), classes_of(jax.errors) - {"NewError", *EXEMPT}, EXEMPT
    )
    assert found == ["NewError: no specimen in lesson 15"]


def test_a_class_that_the_lesson_loses_is_found() -> None:
    raised = classes_of(jax.errors) - {"KeyReuseError", *EXEMPT}
    assert complaints(classes_of(jax.errors), raised, EXEMPT) == [
        "KeyReuseError: no specimen in lesson 15"
    ]


def test_an_exemption_that_is_not_needed_is_found() -> None:
    assert complaints({"KeyReuseError"}, {"KeyReuseError"}, {"KeyReuseError", "OldError"}) == [
        "OldError: exempt, and not in jax.errors",
        "KeyReuseError: exempt, and raised all the same",
    ]


def test_a_subclass_or_an_error_of_the_same_name_does_not_count() -> None:
    class KeyReuseError(Exception):
        pass

    def by_hand() -> None:
        raise KeyReuseError

    assert raised_by(by_hand) is None
    assert raised_under_jit(lambda x: 1 if x[0] > 0 else 0) == "TracerBoolConversionError"
    assert raised_by(lambda: None) is None
