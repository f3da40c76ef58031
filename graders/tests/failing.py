"""What the tests of the checks share: a check that must fail, and what its words must be like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from graders.card.failure import CheckFailed

RAW = ("Traceback", "jax._src", "JitTracer", "DynamicJaxprTracer", "0x7f", "<lambda>.<locals>")


def failure(check: Callable[..., None], *args: Any, **kwargs: Any) -> CheckFailed:
    """The failure of a check that must fail, with words that a student can use."""
    with pytest.raises(CheckFailed) as caught:
        check(*args, **kwargs)
    failed = caught.value
    assert failed.diagnosis
    for words in (failed.diagnosis, failed.next_step, failed.expected, failed.got, failed.at):
        assert not any(raw in words for raw in RAW), words
        assert len(words) < 1000
    assert str(failed).endswith(" ".join(failed.diagnosis.split()))
    return failed
