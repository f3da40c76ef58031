"""A small picture for a card: where a matrix of numbers is right and where it is wrong."""

from __future__ import annotations

import numpy as np

CELL, LARGEST = 12, 24


def differences(got: np.ndarray, expected: np.ndarray) -> str:
    """An SVG that marks each wrong element of a matrix; "" where a picture says no more.

    Both arrays have the same shape. Only matrices from 3 by 3 to 24 by 24 are drawn, and only
    where some elements are right and some are wrong.
    """
    if got.ndim != 2 or min(got.shape) < 3 or max(got.shape) > LARGEST:
        return ""
    with np.errstate(all="ignore"):
        wrong = ~np.isclose(got, expected, rtol=1e-3, atol=1e-6, equal_nan=True)
    if not wrong.any() or wrong.all():
        return ""
    return _grid(wrong)


def _grid(wrong: np.ndarray) -> str:
    rows, columns = wrong.shape
    words = f"{int(wrong.sum())} of {wrong.size} elements are wrong; they are the filled squares."
    squares = "".join(_square(i, j, wrong[i, j]) for i in range(rows) for j in range(columns))
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
