"""A small picture for a card: where a matrix of numbers is right and where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CELL, LARGEST = 12, 24

Wrong = tuple[tuple[bool, ...], ...]
"""Which elements of a matrix are wrong, row by row; () where a picture says no more."""


def worth_drawing(wrong: np.ndarray) -> Wrong:
    """`wrong` as plain rows, if a picture of it says more than words.

    Only matrices from 3 by 3 to 24 by 24 are drawn, and only where some elements are right and some
    are wrong.
    """
    if wrong.ndim != 2 or min(wrong.shape) < 3 or max(wrong.shape) > LARGEST:
        return ()
    if not wrong.any() or wrong.all():
        return ()
    return tuple(tuple(map(bool, row)) for row in wrong)


def svg(wrong: Sequence[Sequence[bool]]) -> str:
    """An SVG that marks each wrong element of a matrix; "" for none."""
    if not wrong:
        return ""
    rows, columns = len(wrong), len(wrong[0])
    count = sum(map(sum, wrong))
    words = f"{count} of {rows * columns} elements are wrong; they are the filled squares."
    squares = "".join(
        _square(i, j, bad) for i, row in enumerate(wrong) for j, bad in enumerate(row)
    )
    return (
        f'<figure style="margin:8px 0 0"><svg role="img" aria-label="{words}" '
        f'width="{columns * CELL + 1}" height="{rows * CELL + 1}">{squares}</svg>'
        f'<figcaption style="opacity:.75;font-size:12px">{words}</figcaption></figure>'
    )


def _square(row: int, column: int, wrong: bool) -> str:
    fill = "#c62828" if wrong else "none"
    return (
        f'<rect x="{column * CELL + 1}" y="{row * CELL + 1}" width="{CELL - 2}" '
        f'height="{CELL - 2}" fill="{fill}" stroke="currentColor" stroke-opacity=".4"/>'
    )
