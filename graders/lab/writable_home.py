"""Where Jupyter and its kernels keep settings when the home folder is read-only."""

from __future__ import annotations

import os
from pathlib import Path

FOLDERS = {
    "JUPYTER_CONFIG_DIR": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter/data",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "IPYTHONDIR": "ipython",
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "cache",
}


def is_at_home() -> bool:
    """Whether Jupyter can write where it keeps its settings and its data."""
    from jupyter_core import paths

    wanted = (paths.jupyter_config_dir(), paths.jupyter_data_dir(), paths.jupyter_runtime_dir())
    return all(_is_open(Path(folder)) for folder in wanted)


def make(folder: Path) -> None:
    """Has Jupyter, and the kernels that it starts, keep their settings in `folder`."""
    for variable, name in FOLDERS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(folder / name)


def _is_open(folder: Path) -> bool:
    """Whether the folder, or the first above it that exists, lets us write."""
    present = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(present, os.W_OK | os.X_OK)
