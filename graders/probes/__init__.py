"""Probes: small functions that run where the student's function lives and return plain data.

A probe knows no expected value and imports no check. It is called with the student's object first.
Its return type is the one description of its reply: `graders.seam.wire` encodes, decodes and
validates by it, and checks read its fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graders.probes.answer import value
from graders.probes.batching import batched
from graders.probes.calls import call, parameters
from graders.probes.donation import Donation, donation
from graders.probes.exports import Contents, contents, exported
from graders.probes.gradients import Derivatives, derivatives, second_derivative
from graders.probes.keys import KeyUses, key_uses
from graders.probes.placement import Collective, Placed, collectives, placement
from graders.probes.primitives import Program, program
from graders.probes.purity import Purity, purity
from graders.probes.traces import traces
from graders.values.jax_internals import KeyUse
from graders.values.key_words import KeyRecord

PROBES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        value, call, parameters, derivatives, second_derivative, program, purity, traces, donation,
        key_uses, batched, placement, collectives, exported, contents,
    )
}  # fmt: skip
"""Every probe by its name, which is what a request carries."""

REPLIES = (
    Collective, Donation, Contents, Derivatives, KeyUse, KeyUses, Placed, Program, Purity,
    KeyRecord,
)  # fmt: skip
"""The classes of what probes return, beside plain data, numbers, text and containers of them."""

ON_ANYTHING = ("value", "parameters")
"""Probes that do not call the object."""
