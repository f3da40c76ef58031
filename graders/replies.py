"""The form of what each probe returns, for a reply that comes from a student's process.

A form is a type, a list of one form (a list of any length), a dict of forms (these keys and no
others), `COUNTS` or `Any` (plain data, which the checks take apart
with care).
"""

from __future__ import annotations

from typing import Any

from graders.observation import Error, Result

GARBLED = Error("Garbled", ("Garbled",), "the process has sent what no probe returns")

COUNTS = object()
"""A dict from names to numbers."""

FORMS: dict[str, Any] = {
    "derivatives": {"value": Any, "forward": Any, "reverse": Any},
    "program": {
        "primitives": COUNTS,
        "equations": int,
        "dtypes": [str],
        "effects": [str],
        "text": str,
        "constants": [str],
    },
    "purity": {
        "printed": str,
        "effects": [str],
        "same_program": bool,
        "same_constants": bool,
        "changed": [str],
        "kept": [str],
        "leaked": bool,
        "host_random": bool,
        "arguments": [int],
        "same_result": bool,
        "same_traced": bool,
    },
    "traces": [int],
    "donation": {"jitted": bool, "donated": [bool], "reused_bytes": int},
    "parameters": [str],
    "draws": {"reused": bool, "first": Any, "again": Any, "others": [Any]},
    "placement": [{"path": str, "shape": [int], "parts": [[int]], "spec": str}],
    "collectives": COUNTS,
    "exported": bytes,
    "contents": {"operations": COUNTS, "digest": str},
}


def checked(probe: str, reply: Any) -> Result:
    """`reply` as the result of `probe`; an error where it is none."""
    if isinstance(reply, Error):
        return Result(error=reply)
    if not isinstance(reply, Result):
        return Result(error=GARBLED)
    fits = reply.error or conforms(reply.value, FORMS.get(probe, Any))
    return reply if fits else Result(error=GARBLED)


def conforms(reply: Any, form: Any) -> bool:
    """Whether `reply` has this form."""
    if form is Any:
        return True
    if form is COUNTS:
        return isinstance(reply, dict) and all(
            type(name) is str and type(count) is int for name, count in reply.items()
        )
    if isinstance(form, list):
        return type(reply) is list and all(conforms(item, form[0]) for item in reply)
    if isinstance(form, dict):
        same_keys = isinstance(reply, dict) and reply.keys() == form.keys()
        return same_keys and all(conforms(reply[name], form[name]) for name in form)
    return type(reply) is form
