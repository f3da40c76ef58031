"""A student's session in a real kernel: notes in place of tracebacks, and what ends an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

SECONDS = 3
CELLS = """
import jax, jax.numpy as jnp, numpy as np, time
from graders import check_values
"""
CHECK = "check_values(double, lambda x: 2 * x, [(np.ones(3),)])"
ENDLESS = """
def double(x):
    while True:
        try:
            time.sleep(60)
        except Exception:
            pass
"""
COMPILED = """
def double(x):
    return jax.lax.while_loop(lambda n: n > -1, lambda n: 0 * n, jnp.sum(x))
"""
Message = dict[str, Any]


class Kernel:
    """A kernel as `jax-course lab` starts it, for the notebook of lesson 03."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(
        self,
        cell: str,
        *,
        by_a_person: bool = True,
        on_output: Callable[[Message], None] = lambda message: None,
    ) -> tuple[str, list[Message]]:
        """The status of the reply, and what the cell has put on the page."""
        shown: list[Message] = []

        def hook(message: Message) -> None:
            if message["msg_type"] in ("display_data", "error", "stream"):
                shown.append(message)
                on_output(message)

        reply = self.client.execute_interactive(
            cell, allow_stdin=by_a_person, output_hook=hook, timeout=300
        )
        return reply["content"]["status"], shown


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setenv("JPY_SESSION_NAME", "/work/03_jit/03_jit.ipynb")
    monkeypatch.setenv("JAX_COURSE_SECONDS", str(SECONDS))
    monkeypatch.setenv("JAX_COURSE_PROGRESS", "nowhere")
    manager, client = start_new_kernel(
        startup_timeout=300, extra_arguments=["--ext=graders.notebook", "--log-level=ERROR"]
    )
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def texts(shown: list[Message]) -> list[str]:
    """What is displayed, in plain text; an error or a stream by its kind."""
    return [
        message["content"]["data"]["text/plain"]
        if message["msg_type"] == "display_data"
        else message["msg_type"]
        for message in shown
    ]


@pytest.mark.parametrize(
    "cell",
    ["def double(x: Float[Array, '3']):\n    return x", CHECK],
    ids=["answer", "check"],
)
def test_a_cell_that_runs_before_the_first_ones_says_so(kernel: Kernel, cell: str) -> None:
    status, shown = kernel.run(cell)
    (note,) = texts(shown)
    assert status == "error"
    assert note.startswith("A cell above has not run in this kernel\n")
    assert "Run > Run All Above Selected Cell" in note


def test_a_name_that_no_cell_defines_has_its_traceback(kernel: Kernel) -> None:
    assert texts(kernel.run("nonsense")[1]) == ["error"]


def test_a_card_has_no_echo_where_a_person_sits(kernel: Kernel) -> None:
    kernel.run(CELLS)
    kernel.run("def double(x):\n    return x")
    status, shown = kernel.run(CHECK)
    assert (status, len(shown)) == ("error", 1)
    assert texts(shown)[0].startswith("double\n ✗ returns the right values")
    status, shown = kernel.run(CHECK, by_a_person=False)
    assert (status, texts(shown)[1]) == ("error", "error")


def test_an_endless_answer_is_stopped_and_the_kernel_goes_on(kernel: Kernel) -> None:
    kernel.run(CELLS)
    kernel.run(ENDLESS)
    status, shown = kernel.run(CHECK)
    (note,) = texts(shown)
    assert status == "error"
    assert note.startswith(
        f"Stopped after {SECONDS} seconds\n  Where: `time.sleep(60)`, in `double`"
    )
    kernel.run("def double(x):\n    return 2 * x")
    status, shown = kernel.run(CHECK)
    assert status == "ok"
    assert texts(shown)[0].startswith("double\n ✓ returns the right values")


def test_compiled_code_that_does_not_end_is_named(kernel: Kernel) -> None:
    notes: list[str] = []

    def restart(message: Message) -> None:
        notes.extend(texts([message]))
        raise InterruptedError

    kernel.run(CELLS)
    kernel.run(COMPILED)
    with pytest.raises(InterruptedError):
        kernel.run(CHECK, on_output=restart)
    assert notes[0].startswith("The answer does not end, and cannot be interrupted\n")


def test_an_interrupt_is_a_note(kernel: Kernel) -> None:
    def interrupt(message: Message) -> None:
        if "here" in message["content"].get("text", ""):
            kernel.manager.interrupt_kernel()

    kernel.run(CELLS)
    kernel.run("def double(x):\n    print('here', flush=True)\n    time.sleep(60)")
    status, shown = kernel.run("double(1)", on_output=interrupt)
    assert status == "error"
    printed, note = texts(shown)
    assert (printed, note.split("\n")[0]) == ("stream", "Interrupted")
    assert "Where: `time.sleep(60)`, in `double`" in note


def test_a_limit_that_is_no_number_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from graders.notebook import session

    limits = {"": session.LIMIT, "soon": session.LIMIT, "-1": 0, "0": 0, "2.5": 2.5}
    for text, seconds in limits.items():
        monkeypatch.setenv(session.LIMIT_VARIABLE, text)
        assert session.limit() == seconds
