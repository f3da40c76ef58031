"""Runs a whole notebook in a kernel of its own, as *Run All Cells* does."""

from __future__ import annotations

import os
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from graders.notebook.progress import FOLDER_VARIABLE, NOWHERE


def run_all_cells(
    notebook: NotebookNode, folder: Path | None = None, *, seconds: int
) -> NotebookNode | None:
    """Runs every cell in a new kernel; afterwards the cells of `notebook` hold their outputs.

    A cell that raises does not stop the others, and no progress is recorded.

    Args:
        notebook: the notebook, which is changed.
        folder: where the kernel starts; the current folder if left out.
        seconds: of one cell. The kernel is interrupted when they are over, and goes on with the
            next cell.

    Returns:
        The cell that has ended the kernel, so that the cells below it were not run; None if all
        of them were.
    """
    started: list[NotebookNode] = []
    client = NotebookClient(
        notebook,
        timeout=seconds,
        interrupt_on_timeout=True,
        startup_timeout=600,
        allow_errors=True,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR", "--HistoryManager.hist_file=:memory:"],
        resources={"metadata": {"path": str(folder or Path.cwd())}},
        on_cell_start=lambda cell, cell_index: started.append(cell),
    )
    try:
        client.execute(env=os.environ | {FOLDER_VARIABLE: NOWHERE})
    except DeadKernelError:
        return started[-1]
    return None
