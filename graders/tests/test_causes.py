"""The table that explains JAX's messages: each text is reached, and no cause stands twice."""

from __future__ import annotations

import pytest

from graders.diagnosis import errors
from graders.seam.protocol import Error

# Until the texts have a module of their own these tests are skipped: they would fail.
causes = pytest.importorskip("graders.diagnosis.causes")
jax_messages = pytest.importorskip("graders.values.jax_messages")

TEXTS = [(text.part, name) for name in causes.BY_MESSAGE for text in jax_messages.MESSAGES[name]]


@pytest.mark.parametrize(("text", "name"), TEXTS)
def test_no_entry_is_shadowed_by_an_earlier_one(text: str, name: str) -> None:
    """What JAX says has the cause of its own entry, and no other."""
    found = errors.by_message(Error("ValueError", ("ValueError",), f"Before. {text}, and after."))
    assert found == causes.BY_MESSAGE[name]


def test_no_cause_stands_twice() -> None:
    every = list(causes.BY_MESSAGE.values())
    assert [cause.diagnosis for i, cause in enumerate(every) if cause in every[:i]] == []
