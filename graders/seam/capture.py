"""Keeps what a student's code prints and warns off the page, and within bounds."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import jax

from graders.values.plain import printable
from graders.values.visible import JOINERS, written_out

MOST_CHARACTERS = 10_000_000
MOST_SHOWN, CUT = 4_000, "\n... cut here"


class OutputLimit(Exception):
    """An answer has printed more than anyone will read."""


class Captured(io.StringIO):
    """Keeps what is written, up to 10 million characters; more is an `OutputLimit`."""

    def write(self, text: str) -> int:
        """Keeps `text`."""
        if self.tell() + len(text) > MOST_CHARACTERS:
            raise OutputLimit(f"more than {MOST_CHARACTERS} characters were printed")
        return super().write(text)


def shown(text: str) -> str:
    """What of a printed text is kept: at most 4,000 characters, unseen ones written out."""
    if len(text) > MOST_SHOWN:
        text = text[: MOST_SHOWN - len(CUT)] + CUT
    return written_out(printable(text), keep=f"\t\n\r{JOINERS}")


@contextlib.contextmanager
def quiet() -> Iterator[Captured]:
    """A block whose output is kept off the page; what it prints is in what this yields."""
    with (
        contextlib.redirect_stdout(Captured()) as output,
        contextlib.redirect_stderr(Captured()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield output
        finally:
            with contextlib.suppress(Exception):  # of a callback: reported where it is called
                jax.effects_barrier()  # `jax.debug.print` may print later than it is called
