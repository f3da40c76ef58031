"""What a person at a notebook is shown in place of a traceback: for a kernel that was restarted, an
interrupt, an answer that does not end, and a check that has drawn its card.

All of it is for a front end that a person sits at. One that runs a notebook by itself (nbclient,
and with it nbgrader) says in each request that it cannot be asked for input: there, errors stay.
"""

from __future__ import annotations

import _thread
import linecache
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from graders.card import draw
from graders.card.failure import CheckFailed
from graders.notebook import progress
from graders.notebook.shown import show

LIMIT_VARIABLE = "JAX_COURSE_SECONDS"
LIMIT = 60.0
"""Seconds that a check cell may take where the variable does not say otherwise; 0 is no limit."""
PATIENCE = 10.0
"""Seconds after which an answer that was interrupted and goes on is in compiled code."""

Rows = Sequence[tuple[str, str]]
_ABOVE = "Choose Run > Run All Above Selected Cell, then run this cell again."


class Session:
    """Replaces the tracebacks of one kernel by notes, cell by cell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.watch: Watch | None = None  # of the check cell that is running
        self.caught: BaseException | None = None
        self.before: Any = None  # what the shell did with exceptions until now

    def begin(self, is_check: bool) -> None:
        """A cell begins; a check cell has a limit of time."""
        if not self._has_a_person():
            return
        self.before = self.shell.custom_exceptions, self.shell.CustomTB
        self.shell.set_custom_exc((CheckFailed, KeyboardInterrupt, NameError), self._caught)
        if is_check and (seconds := limit()):
            self.watch = Watch(seconds, _tell_of_compiled_code)

    def end(self, result: Any) -> None:
        """The cell has ended; an error that was shown as a note is still an error."""
        if self.watch:
            self.watch.stop()
        if self.before:
            self.shell.custom_exceptions, self.shell.CustomTB = self.before
        if self.caught is not None:
            result.error_in_exec = self.caught
        self.watch = self.caught = self.before = None

    def _has_a_person(self) -> bool:
        return bool(getattr(getattr(self.shell, "kernel", None), "_allow_stdin", False))

    def _caught(
        self, shell: Any, kind: type, error: BaseException, trace: Any, tb_offset: Any = None
    ) -> None:
        """Shows what there is to say of the error; the traceback, where that is nothing."""
        self.caught = error
        if isinstance(error, CheckFailed):
            return  # its card has said everything
        if isinstance(error, KeyboardInterrupt):
            late = self.watch.seconds if self.watch and self.watch.is_late else None
            show_note(*interrupted(line_of_the_answer(trace, shell.user_ns), late))
        elif (name := getattr(error, "name", "")) in progress.given_names(lesson_of_this_kernel()):
            show_note(*not_run(name))
        else:
            shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


class Watch:
    """Interrupts the main thread after so many seconds, and again until it is stopped.

    `stuck` is called once, when the interrupt has had no effect.
    """

    def __init__(self, seconds: float, stuck: Callable[[], None]) -> None:
        self.seconds, self.is_late = seconds, False
        self._stuck, self._stopped = stuck, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is interrupted after this."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self.seconds
        for attempt in range(1_000):
            if self._stopped.wait(wait):
                return
            self.is_late, wait = True, PATIENCE
            if attempt == 1:
                self._stuck()
            _interrupt_the_main_thread()


def _interrupt_the_main_thread() -> None:
    """As Control-C does: on POSIX by a signal, which also ends a call that sleeps or waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def limit() -> float:
    """Seconds that a check cell may take; 0 where there is no limit."""
    try:
        return max(0.0, float(os.environ.get(LIMIT_VARIABLE, LIMIT)))
    except ValueError:
        return LIMIT


def line_of_the_answer(trace: TracebackType | None, namespace: dict[str, Any]) -> str:
    """Where in a cell of the notebook the innermost call was, "" if only this cell's own lines ran.

    Args:
        trace: the traceback; its outermost frame of the notebook is that of the running cell.
        namespace: of the notebook, by which its frames are known.
    """
    frames = list(_frames_of(trace, namespace))
    others = [(frame, n) for frame, n in frames if frame.f_code is not frames[0][0].f_code]
    if not others:
        return ""
    frame, number = others[-1]
    return _line(frame, number)


def _frames_of(trace: TracebackType | None, namespace: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    while trace is not None:
        if trace.tb_frame.f_globals is namespace:
            yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _line(frame: Any, number: int) -> str:
    name = frame.f_code.co_name
    source = linecache.getline(frame.f_code.co_filename, number).strip()
    return f"`{source}`, in `{name}`" if source else f"line {number} of `{name}`"


def interrupted(where: str, seconds: float | None) -> tuple[str, Rows]:
    """The note on a cell that was interrupted: by the limit after `seconds`, or by a person."""
    line = [("Where", where)] if where else []
    if seconds is None:
        again = "Nothing was judged. Run the cell again when you are ready."
        return "Interrupted", [*line, ("Next", again)]
    return f"Stopped after {seconds:g} seconds", [
        *line,
        ("Diagnosis", "The check had not ended. The usual cause is a loop that never ends."),
        (
            "Try",
            "Look at what should end the loop. If the answer is right and this machine is slow, "
            f"`%env {LIMIT_VARIABLE}=300` in a cell above gives checks more time.",
        ),
    ]


def not_run(name: str) -> tuple[str, Rows]:
    """The note on a name that a cell of the lesson defines, and that this kernel does not know."""
    return "A cell above has not run in this kernel", [
        ("Missing", f"`{name}` is defined by an earlier cell of this lesson."),
        ("Next", f"{_ABOVE} A kernel that was restarted has forgotten all earlier cells."),
    ]


def lesson_of_this_kernel() -> str:
    """The name of the notebook that Jupyter started this kernel for; "" where it does not say."""
    return Path(os.environ.get("JPY_SESSION_NAME", "")).stem


def _tell_of_compiled_code() -> None:
    show_note(
        "The answer does not end, and cannot be interrupted",
        [
            (
                "Diagnosis",
                "It is inside a compiled program, which Python cannot stop: for example a "
                "`lax.while_loop` whose condition is never False.",
            ),
            (
                "Next",
                "Choose Kernel > Restart Kernel, change the answer, and choose Run > Run All Above "
                "Selected Cell.",
            ),
        ],
    )


def show_note(title: str, rows: Rows) -> None:
    """Displays a note: a title, and labelled sentences."""
    show(draw.note_html(title, rows), draw.note_text(title, rows))
