"""check_answer: predictions and recalled facts, compared as a person would."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import CheckFailed, check_answer
from graders.tests.failing import failure


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (3.0, 3),
        (np.float32(3), 3),
        (jnp.asarray([1, 2]), (1, 2)),
        ([1, 2], (1, 2)),
        ((2, 3), [2, 3]),
        (" Int32", "int32"),
        (jnp.float32, "float32"),
        (np.dtype("int8"), "int8"),
        (jnp.ones(2, jnp.bfloat16).dtype, "bfloat16"),
        (True, True),
        (float("nan"), float("nan")),
        ("NaN", float("nan")),
        (float("inf"), float("inf")),
        ([[1], []], ((1,), ())),
        ({"a": [1], "b": "x"}, {"b": "X", "a": (1,)}),
        (1 + 2j, 1 + 2j),
        (2, lambda: int(jnp.int8(1) + 1)),
        ("float32", lambda: str((jnp.int8(1) + 1.5).dtype)),
    ],
    ids=lambda value: "computed" if callable(value) else repr(value),
)
def test_a_right_answer_passes(value: Any, expected: Any) -> None:
    check_answer(value, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (4, 3),
        (True, 1),
        (1, True),
        (0, False),
        (3, "3"),
        ((1, 2), (1, 2, 3)),
        ((1, 2, 3), (1, 2)),
        ((), (1,)),
        (0.1 + 0.2, 0.3),
        (10**400, 3),
        (-(10**400), 3),
        (lambda: 3, 3),
        ({1, 2}, (1, 2)),
        ({1, 2}, lambda: {1, 2}),
        ({"a": 1}, {"a": 2}),
        ({"a": np.ones(2)}, {"a": np.ones(3)}),
        (jax.random.key(0), jax.random.key(1)),
        (jax.ShapeDtypeStruct((2,), jnp.float32), (2,)),
        (np.array(["a"]), "a"),
        (b"a", "a"),
        ("a" * 10_000, "b"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_wrong_answer_is_rejected(value: Any, expected: Any) -> None:
    failed = failure(check_answer, value, expected)
    assert failed.diagnosis == "not what happens"
    assert failed.got
    assert failed.expected == ""


def test_an_object_that_equals_everything_is_no_answer() -> None:
    class Yes:
        __hash__ = None  # pyright: ignore[reportAssignmentType]

        def __eq__(self, other: object) -> bool:
            return True

        def __float__(self) -> float:
            return 3.0

    assert failure(check_answer, Yes(), 3).got == "an object of type Yes"
    assert failure(check_answer, [Yes()], (3,)).diagnosis == "not what happens"


def test_usual_mistakes_have_their_own_words() -> None:
    mistakes = {(2, 3): "the two axes are exchanged", "float64": "x64 is off", True: "yes"}
    for wrong, words in (((2, 3), "exchanged"), ([2, 3], "exchanged"), ("FLOAT64", "x64")):
        failed = failure(check_answer, wrong, (3, 2), because="Rows come first.", mistakes=mistakes)
        assert words in failed.diagnosis
        assert "say to yourself why" in failed.next_step
        assert "Rows come first" not in str(vars(failed))
    failed = failure(check_answer, 1, (3, 2), mistakes=mistakes)
    assert failed.diagnosis == "not what happens"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("(2, 3)", (2, 3)), ("(3,)", (3,)), ("True", True), ("2.5", 2.5)],
    ids=repr,
)
def test_a_right_value_in_quotation_marks_is_named(value: str, expected: Any) -> None:
    failed = failure(check_answer, value, expected)
    assert failed.diagnosis == "the right value, but as a string"
    assert failed.next_step == "Write it without quotation marks."


@pytest.mark.parametrize("value", [..., None], ids=repr)
def test_a_placeholder_is_not_answered_yet(value: Any) -> None:
    with pytest.raises(CheckFailed, match="not answered yet") as caught:
        check_answer(value, 3)
    assert not caught.value.answered


def test_the_answer_is_not_given_away() -> None:
    failed = failure(check_answer, "int32", lambda: "float32")
    words = [str(failed), failed.expected, failed.got, failed.diagnosis, failed.next_step]
    assert not any("float32" in text for text in words)
