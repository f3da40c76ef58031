"""Probes: small functions that run where the student's function lives and return plain data.

A probe knows no expected value and imports no check. `PROBES` is the table by name; each is
called with the student's object first and returns what `graders.wire` can carry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graders.probes.answers import call, parameters, value
from graders.probes.batches import batched
from graders.probes.compilation import donation, traces
from graders.probes.derivatives import derivatives, second_derivative
from graders.probes.effects import purity
from graders.probes.exports import contents, exported
from graders.probes.placement import collectives, placement
from graders.probes.programs import program
from graders.probes.randomness import draws

PROBES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        value, call, parameters, derivatives, second_derivative, program, purity, traces, donation,
        draws, batched, placement, collectives, exported, contents,
    )
}  # fmt: skip
ON_ANYTHING = ("value", "parameters")
"""Probes that do not call the object."""
