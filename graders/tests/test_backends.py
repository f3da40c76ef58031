"""Errors about devices: what JAX says is turned into a sentence and the way out."""

from __future__ import annotations

import os
import subprocess
import sys

import jax.extend.backend
import jax.numpy as jnp
import pytest

from graders.notebook import backends

# What JAX 0.10 says, and libtpu and XLA for CUDA behind it, as their users have reported it.
TPU_TAKEN = (
    "Unable to initialize backend 'tpu': ABORTED: The TPU is already in use by process with pid "
    "176028. Not attempting to load libtpu.so in this process. (set JAX_PLATFORMS='' to "
    "automatically choose an available backend)"
)
SAYINGS = {
    "TPU held": (TPU_TAKEN, "process holds the TPU, the one with the number 176028, and only one"),
    "TPU locked": (
        "Unable to initialize backend 'tpu': ABORTED: Internal error when accessing libtpu "
        'multi-process lockfile. Run "$ sudo rm /tmp/libtpu_lockfile".',
        "Another process holds the TPU, and only one can",
    ),
    "TPU open elsewhere": (
        "Unable to initialize backend 'tpu': UNKNOWN: TPU initialization failed: "
        "open(/dev/accel0): Operation not permitted: Device or resource busy",
        "Another process holds the TPU, and only one can",
    ),
    "no GPU": (
        "Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices. (set "
        "JAX_PLATFORMS='' to automatically choose an available backend)",
        "JAX cannot compute on 'cuda' here: no such device is found",
    ),
    "GPU without memory": (
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 285212672 bytes.",
        "The device's memory is full",
    ),
    "GPU without memory, at its start": (
        "Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform "
        "CUDA (you may need to uninstall the failing plugin package, or set JAX_PLATFORMS=cpu to "
        "skip this backend.)",
        "The device's memory is full",
    ),
    "GPU without memory for a library": (
        "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above for more "
        "details.",
        "The device's memory is full",
    ),
    "no CPU": ("Unknown backend cpu. Available backends are ['cuda']", "without its CPU backend"),
    "no CPU for a callback": (
        "jax.pure_callback failed to find a local CPU device to place the inputs on.",
        "without its CPU backend",
    ),
}


@pytest.mark.parametrize(("message", "said"), SAYINGS.values(), ids=SAYINGS)
def test_a_device_that_is_not_to_be_had_is_explained(message: str, said: str) -> None:
    explanation = backends.explained(RuntimeError(message))
    assert said in explanation
    assert "restart the kernel" in explanation


@pytest.mark.parametrize(
    "error",
    [
        None,
        KeyError("RESOURCE_EXHAUSTED"),
        RuntimeError("dictionary changed size during iteration"),
        AssertionError(),
        AssertionError("RESOURCE_EXHAUSTED"),
    ],
)
def test_other_errors_are_left_alone(error: BaseException | None) -> None:
    assert backends.explained(error) == ""


def test_an_error_that_cannot_be_printed_is_survived() -> None:
    class Broken(RuntimeError):
        def __str__(self) -> str:
            raise OSError

    assert backends.explained(Broken()) == ""


def test_an_array_that_is_too_large_is_explained() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jnp.ones(1 << 44).block_until_ready()
    assert backends.explained(raised.value).startswith("The device's memory is full")


SHELL = """
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config
shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
shell.run_cell("import graders, jax, jax.numpy as jnp")
shell.run_cell("jnp.ones(3)")
"""


@pytest.mark.skipif("cuda" in jax.extend.backend.backends(), reason="there is a GPU here")
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_notebook_shows_the_way_out(platform: str, tmp_path) -> None:
    """A machine without the device that JAX_PLATFORMS names; what JAX raises depends on which."""
    settings = os.environ | {"JAX_PLATFORMS": platform, "IPYTHONDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", SHELL], capture_output=True, text=True, env=settings
    )
    assert "JAX cannot compute on " in ran.stdout.splitlines()[-1], ran.stdout + ran.stderr
    assert "`%env JAX_PLATFORMS=cpu`" in ran.stdout.splitlines()[-1]
