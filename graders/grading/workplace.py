"""What a worker needs to examine submissions: the lesson, the sandbox, and one examiner."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import nbformat

from graders.author import hosted
from graders.author.cells import Lesson
from graders.author.source import read_lesson
from graders.classroom.submissions import Submission
from graders.compiling import LESS_OPTIMISED, share_context
from graders.data import FILE, data_folders
from graders.grading.examiner import Examination, Examiner, Processes
from graders.remote import RemoteProcess
from graders.sandbox.bubblewrap import MATPLOTLIB
from graders.sandbox.process import Sandbox, Unavailable

# JAX imports the last one itself, before it runs an exported program.
IN_EVERY = ("import graders.worker", "import IPython", "import scipy.linalg.cython_blas")


class NoSandbox:
    """Processes with the rights of whoever grades."""

    def new_process(self) -> RemoteProcess:
        """A process for one submission."""
        return RemoteProcess()


def fill(cache: Path) -> None:
    """From now on what this process compiles, and those that it starts, is kept in `cache`.

    It is compiled quickly, and for the CPU, as in the sandbox. Matplotlib's list of the machine's
    fonts is kept there too.
    """
    cache.mkdir(parents=True, exist_ok=True)
    settings = {
        "jax_platforms": "cpu",
        LESS_OPTIMISED: True,
        # Nobody reads a traceback here, and to take JAX's frames out of it takes long.
        "jax_traceback_filtering": "off",
        "jax_compilation_cache_dir": str(cache),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # Caches for GPUs, whose folder would be a part of each program's name in the cache.
        "jax_persistent_cache_enable_xla_caches": "none",
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    fonts = str(cache / MATPLOTLIB)
    os.environ.update(MPLBACKEND="Agg", MPLCONFIGDIR=fonts, TF_CPP_MIN_LOG_LEVEL="3")


@dataclass(frozen=True)
class Workplace:
    """One lesson's examiner, and where the processes of its students come from."""

    examiner: Examiner
    processes: Processes

    def examined(self, submission: Submission, checks: frozenset[str] | None) -> Examination | str:
        """What was found; or why nothing was, where the grading itself broke down."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nbformat mends what it warns of
                notebook = nbformat.read(submission.notebook, as_version=4)
            return self.examiner.examine(notebook.cells, self.processes, checks)
        except (KeyboardInterrupt, Unavailable):
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name} line {last.lineno}"
            return f"{type(error).__name__} in {where}: {error}"


@contextmanager
def opened(settings: Any, name: str, cache: Path) -> Iterator[Workplace]:
    """A workplace for the lesson; its sandbox ends with the block.

    Raises:
        Unavailable: no sandbox is to be had here.
        Broken: the lesson fails its own checks.
    """
    logging.getLogger("jax").setLevel(logging.ERROR)
    share_context()
    fill(cache)
    lesson = read_lesson(settings.root / "solutions" / name)
    examiner = Examiner(lesson)  # first: the sandbox borrows what it leaves in the cache
    if not settings.sandboxed:
        yield Workplace(examiner, NoSandbox())
        return
    with Sandbox(cache, _data(), _imports(lesson), seconds=settings.seconds) as sandbox:
        yield Workplace(examiner, sandbox)


def _data() -> Path | None:
    """The folder that holds MNIST, if any does."""
    return next((folder for folder in data_folders() if (folder / FILE).is_file()), None)


def _imports(lesson: Lesson) -> list[str]:
    """What is imported once for all submissions: what the lesson imports."""
    return [*IN_EVERY, *hosted.import_statements(lesson)]
