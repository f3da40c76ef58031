"""A student's notebook: cards and notes are shown, progress is kept, programs and
caches are displayed, errors about devices explained.

`%load_ext graders.notebook` connects a kernel before its first cell, as `jax-course lab` does.
"""

from __future__ import annotations

from typing import Any


def load_ipython_extension(shell: Any) -> None:
    """From now on `shell` shows cards and notes; what IPython calls for `%load_ext`."""
    from graders.notebook.events import connect

    connect(shell)
