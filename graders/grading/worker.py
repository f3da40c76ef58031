"""What a worker needs to examine submissions: an examiner of the lesson, and the sandbox."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import jax
import nbformat

from graders.grading.examiner import Examination, Examiner, Processes
from graders.grading.forkserver import matplotlib_settings
from graders.grading.submissions import Submission
from graders.lesson import hosted
from graders.lesson.cells import Lesson
from graders.material.mnist import FILE, data_folders
from graders.sandbox import bubblewrap
from graders.sandbox.process import Sandbox, Unavailable
from graders.seam.remote import RemoteProcess, StudentProcess
from graders.values.jax_internals import LESS_OPTIMISED, share_context

# JAX imports the last one itself, before it runs an exported program.
IN_EVERY = ("import graders.seam.student", "import IPython", "import scipy.linalg.cython_blas")


class NoSandbox:
    """Processes with the rights of the account that grades."""

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
        # No traceback is read here, and filtering JAX's frames out of one takes long.
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
    os.environ.update(matplotlib_settings(cache), TF_CPP_MIN_LOG_LEVEL="3")


@dataclass(frozen=True)
class Report:
    """What became of one examination."""

    found: Examination | str
    starved: bool = False  # whether an answer may have run out of time for want of a processor


class _Watched:
    """Processes for one submission, and which they were."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.made: list[StudentProcess] = []

    def new_process(self) -> StudentProcess:
        self.made.append(self.processes.new_process())
        return self.made[-1]


@dataclass(frozen=True)
class Workplace:
    """One lesson's examiner, and where the processes of its students come from."""

    examiner: Examiner
    processes: Processes

    def examined(self, submission: Submission, checks: frozenset[str] | None) -> Report:
        """What was found; or why nothing was, where the grading itself broke down."""
        watched = _Watched(self.processes)
        found = self._found(submission, checks, watched)
        return Report(found, any(process.starved for process in watched.made))

    def _found(
        self, submission: Submission, checks: frozenset[str] | None, processes: Processes
    ) -> Examination | str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nbformat fixes what it warns of
                notebook = nbformat.read(submission.notebook, as_version=4)
            files = submission.files()
            return self.examiner.examine(notebook.cells, processes, checks, files)
        except (KeyboardInterrupt, Unavailable):
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name} line {last.lineno}"
            return f"{type(error).__name__} in {where}: {error}"


def prepared(lesson: Lesson, cache: Path, processes: Processes) -> Workplace:
    """A workplace for the lesson; what is compiled there is kept in `cache`.

    Raises:
        Broken: the lesson fails its own checks.
    """
    logging.getLogger("jax").setLevel(logging.ERROR)
    share_context()
    fill(cache)
    return Workplace(Examiner(lesson), processes)


def sandbox(lessons: Iterable[Lesson], cache: Path, seconds: float, flags: str) -> Sandbox:
    """A sandbox for submissions of these lessons; what they import is imported once for all.

    `flags` are XLA's, as the workers have them.

    Raises:
        Unavailable: there is no bubblewrap, or it would show the solutions or the submissions.
    """
    lessons = list(lessons)
    bubblewrap.refuse_shown([*(lesson.path for lesson in lessons), cache.parent])
    cache.mkdir(parents=True, exist_ok=True)
    return Sandbox(cache, _data(), _imports(lessons), seconds=seconds, flags=flags)


def _data() -> Path | None:
    """The folder that holds MNIST, if any does."""
    return next((folder for folder in data_folders() if (folder / FILE).is_file()), None)


def _imports(lessons: Iterable[Lesson]) -> list[str]:
    found = chain(IN_EVERY, *map(hosted.import_statements, lessons))
    return list(dict.fromkeys(found))
