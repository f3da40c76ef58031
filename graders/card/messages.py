"""The one place where the words of a check are put together.

`graders.diagnosis` supplies sentences about causes; this module says what a check demands, and
joins demand, facts, cause and next step into the lines that a card, a traceback or a table shows.
"""

from __future__ import annotations

from dataclasses import replace

from graders.card.failure import Cause, Finding

REQUIREMENTS = {
    "check_shape": "returns the right shape",
    "check_dtype": "returns the right dtype",
    "check_values": "returns the right values",
    "check_gradients": "has the right derivatives",
    "check_pure": "is pure, and can be traced",
    "check_traces": "is not retraced needlessly",
    "check_primitives": "uses the right operations",
    "check_keys": "uses its key, and no key twice",
    "check_distribution": "draws from the right distribution",
    "check_batched": "works under vmap",
    "check_sharding": "has the right sharding",
    "check_collectives": "uses the right collectives",
    "check_training": "learns, reproducibly",
    "check_donates": "donates the buffers that it replaces",
    "check_answer": "is right",
}

UNANSWERED = Finding(
    Cause(
        "not answered yet",
        "Write your answer in the cell above, run that cell, then run this one.",
    ),
    answered=False,
)

UNBOUND = Finding(
    Cause(
        "not answered yet",
        "The cell above has not defined this name: run it, and if it stops with an error, "
        "fix that first.",
    ),
    answered=False,
)

STALE = Finding(
    Cause(
        "not answered yet",
        "The cell above was last run with a syntax error, so the name still holds an older "
        "answer. Fix the error, run that cell, then run this one.",
    ),
    answered=False,
)

HIDDEN = Cause(
    "The answer fails on inputs that are not shown: other sizes, other values, or an edge case "
    "such as an empty array, size one, large numbers or ties.",
    "Try your function on such inputs yourself.",
)
"""All that a student is shown of a hidden test that failed."""

BEHIND = "not yet checked"
CONFIRMED = "exports a program with this structure"
"""What grading demands beyond the checks of a cell."""


def requirement(verb: str, about: str = "", hidden: bool = False) -> str:
    """What a check demands, as the end of a sentence that starts with the exercise's name."""
    words = REQUIREMENTS.get(verb, verb.removeprefix("check_").replace("_", " "))
    if hidden:
        return f"{words}, on hidden inputs"
    return f"{words}: {about}" if about else words


def one_line(exercise: str, finding: Finding) -> str:
    """The line of the traceback and of tables: who, what is wrong."""
    words = finding.cause.diagnosis if finding.answered else UNANSWERED.cause.diagnosis
    return f"{exercise}: {' '.join(words.split())}"


def hidden_line(exercise: str, demanded: str) -> str:
    """The line for a failed hidden test: its kind, nothing of its inputs or numbers."""
    return f"{exercise}: a hidden test failed: that it {demanded}"


def of_hidden(finding: Finding) -> Finding:
    """What an instructor reads of a failed hidden test; no student is shown it."""
    diagnosis = f"right for the visible inputs, wrong on hidden ones: {finding.cause.diagnosis}"
    return replace(finding, cause=replace(finding.cause, diagnosis=diagnosis))


def rows(finding: Finding, hidden: bool = False) -> list[tuple[str, str]]:
    """The labelled facts of a failure in the order in which a card shows them."""
    if hidden and finding.answered:
        return [("Hidden test", HIDDEN.diagnosis)]
    facts = [
        ("Expected", finding.expected),
        ("Got", finding.got),
        ("At", finding.at),
        ("Line", finding.cause.line if finding.answered else ""),
        ("Diagnosis", finding.cause.diagnosis if finding.answered else ""),
        ("Try", finding.cause.next_step),
    ]
    return [(label, text) for label, text in facts if text]


def score_line(met: int, total: int) -> str:
    """How many requirements are met."""
    if met == total:
        return "All requirements are met." if total > 1 else "The requirement is met."
    return f"{met} of {total} requirements met."


MORE_TO_COME = "When your work is graded, hidden tests try the same on other inputs."
"""The foot of a green card that has seen the visible tests of a function, and no more."""
