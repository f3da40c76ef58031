"""The card under a check cell, as HTML and as plain text, drawn from an outcome."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from graders.card import messages, picture
from graders.card.outcome import Outcome, Requirement

MARKS = {"met": "✓", "failed": "✗", "unanswered": "○", "open": "·"}
SPOKEN = {"met": "passed", "failed": "failed", "unanswered": "not answered yet", "open": "open"}
# JupyterLab's own, where its theme has one; the others stand on white and on black.
COLOURS = {
    "met": "var(--jp-success-color1,#37873b)",
    "failed": "var(--jp-error-color1,#d93a3a)",
    "unanswered": "#947400",
}
FONT = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:14px;line-height:1.45"


def text(outcome: Outcome, standing: str = "") -> str:
    """The card in plain text; `standing` says how far the student has come."""
    lines = [outcome.exercise, *(_text_line(r) for r in outcome.requirements)]
    lines += [f"  {label}: {words}" for label, words in _facts(outcome)]
    return "\n".join([*lines, *(f"  {foot}" for foot in (_foot(outcome), standing) if foot)])


def _text_line(requirement: Requirement) -> str:
    behind = {"open": f" ({messages.BEHIND})", "unanswered": " (not answered yet)"}
    return f" {MARKS[requirement.state]} {requirement.words}{behind.get(requirement.state, '')}"


def html(outcome: Outcome, standing: str = "", inside: str = "") -> str:
    """The card in HTML: no script, colours that stand on light and dark pages.

    `inside` is HTML to be shown below the facts, such as the author's answer.
    """
    state = outcome.failed.state if outcome.failed else "met"
    items = "".join(_html_line(requirement) for requirement in outcome.requirements)
    return (
        f"{_frame(state)}<strong><code>{escape(outcome.exercise)}</code></strong> "
        f'<span style="opacity:.75">{escape(_summary(outcome))}</span>'
        f'<ul role="list" style="list-style:none;margin:4px 0;padding:0">{items}</ul>'
        f"{_grid(_facts(outcome))}{_picture(outcome)}{inside}{_html_foot(_foot(outcome))}"
        f"{_html_foot(standing)}</div>"
    )


def note_html(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A card that judges nothing: a title, and labelled sentences."""
    return f"{_frame('unanswered')}<strong>{escape(title)}</strong>{_grid(rows)}</div>"


def note_text(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """The same in plain text."""
    return "\n".join([title, *(f"  {label}: {words}" for label, words in rows)])


def _frame(state: str) -> str:
    """The opening tag of a card."""
    return (
        f'<div role="status" style="{FONT};border-left:4px solid {COLOURS[state]};'
        'padding:6px 12px;margin:4px 0;max-width:52em">'
    )


def _summary(outcome: Outcome) -> str:
    if outcome.failed and outcome.failed.state == "unanswered":
        return messages.UNANSWERED.cause.diagnosis
    met = sum(requirement.state == "met" for requirement in outcome.requirements)
    return messages.score_line(met, len(outcome.requirements))


def _html_line(requirement: Requirement) -> str:
    state = requirement.state
    colour = COLOURS.get(state, "inherit")
    faint = ";opacity:.6" if state == "open" else ""
    behind = f" ({messages.BEHIND})" if state == "open" else ""
    return (
        f'<li style="margin:1px 0{faint}"><span role="img" aria-label="{SPOKEN[state]}" '
        f'style="color:{colour};font-weight:bold;display:inline-block;width:1.3em">'
        f"{MARKS[state]}</span>{escape(requirement.words)}{behind}</li>"
    )


def _grid(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f'<dt style="font-weight:600;opacity:.75">{escape(label)}</dt>'
        f'<dd style="margin:0;overflow-wrap:anywhere">{_words(label, words)}</dd>'
        for label, words in facts
    )
    grid = "display:grid;grid-template-columns:max-content 1fr;gap:2px 12px;margin:6px 0 0"
    return f'<dl style="{grid}">{rows}</dl>' if rows else ""


def _words(label: str, words: str) -> str:
    return (
        f"<code>{escape(words)}</code>"
        if label in ("Expected", "Got", "At", "Line")
        else coded(words)
    )


def coded(words: str) -> str:
    """The words in HTML, with what stands in backticks as code."""
    parts = escape(words, quote=False).split("`")
    pieces = (f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
    return "".join(pieces) if len(parts) % 2 else escape(words)


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    if outcome.failed and outcome.finding:
        return messages.rows(outcome.finding, outcome.failed.hidden)
    return [("Why", outcome.reason)] if outcome.reason else []


def _foot(outcome: Outcome) -> str:
    """What a card says below a green list that held no hidden test."""
    judged = [r for r in outcome.requirements if r.verb != "check_answer"]
    visible_alone = judged and not any(requirement.hidden for requirement in judged)
    return messages.MORE_TO_COME if visible_alone and not outcome.failed else ""


def _html_foot(words: str) -> str:
    style = "opacity:.75;font-size:12px;margin-top:4px"
    return f'<div style="{style}">{escape(words)}</div>' if words else ""


def _picture(outcome: Outcome) -> str:
    shown = outcome.finding and outcome.failed and not outcome.failed.hidden
    return picture.svg(outcome.finding.picture) if shown and outcome.finding else ""
