"""Imported by the process that forks workers: what they need, once for all of them."""

import importlib
from contextlib import suppress

from graders.nbgrading.quick_imports import without_grammars

without_grammars()
# The last two are for the lessons, most of which use them.
for name in ("graders.grading.worker", "matplotlib.pyplot", "scipy.stats"):
    with suppress(ImportError):
        importlib.import_module(name)
