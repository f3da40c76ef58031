"""What JAX's errors about devices mean, and the way out: for one that was told to use another
platform than is there, and for an accelerator that somebody else holds.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

from graders.values.jax_internals import BACKEND_FILE
from graders.values.jax_messages import DEVICES

AGAIN = "then restart the kernel and run the notebook from its first cell"
SHUT_DOWN = (
    "Shut down the other notebooks that use it (in JupyterLab: Kernel, Shut Down All Kernels)"
)


def explained(error: BaseException | None) -> str:
    """What is wrong with the devices, and the way out, in sentences; "" for any other error."""
    if error is None:
        return ""
    if _is_no_backend(error):
        return _absent("what JAX_PLATFORMS names")
    message = _message(error)
    found = (
        (say, re.search(pattern, message, re.DOTALL))
        for name, say in MEANINGS.items()
        for pattern in DEVICES[name]
    )
    return next((say(match) for say, match in found if match), "")


def _is_no_backend(error: BaseException) -> bool:
    """Whether JAX stopped at its own assertion that some platform has been found."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        isinstance(error, AssertionError)
        and bool(frames)
        and frames[-1].filename.replace("\\", "/").endswith(BACKEND_FILE)
    )


def _message(error: BaseException) -> str:
    if not isinstance(error, RuntimeError | ValueError):  # JAX's own are RuntimeErrors
        return ""
    try:
        return str(error)
    except Exception:  # a class of the student's
        return ""


def _absent(platform: str) -> str:
    return (
        f"JAX cannot compute on {platform} here: no such device is found, or not the package that "
        "drives it. Put `%env JAX_PLATFORMS=cpu` into a cell above the first one (with nothing "
        f"behind the `=` JAX chooses by itself), {AGAIN}."
    )


def _not_started(match: re.Match[str]) -> str:
    return _absent(f"{match[1]!r}")


def _taken(match: re.Match[str]) -> str:
    holder = f", the one with the number {match[1]}" if match.re.groups and match[1] else ""
    return (
        f"Another process holds the TPU{holder}, and only one can. {SHUT_DOWN}, or end that "
        f"process, {AGAIN}."
    )


def _no_cpu(match: re.Match[str]) -> str:
    return (
        "JAX was started without its CPU backend, and this cell needs it beside the accelerator. "
        "Put `%env JAX_PLATFORMS=` into a cell above the first one, which lets JAX use all that is "
        f"there, {AGAIN}."
    )


def _full(match: re.Match[str]) -> str:
    return (
        "The device's memory is full. If this cell makes a very large array, make it smaller. "
        "Otherwise another process may hold the memory of the GPU (`!nvidia-smi` lists them; JAX "
        f"takes three quarters of it when it starts). {SHUT_DOWN}, or put `%env "
        f"XLA_PYTHON_CLIENT_PREALLOCATE=false` into a cell above the first one, {AGAIN}."
    )


# In this order: that a TPU is held is said within the sentence that it could not be started.
MEANINGS: dict[str, Callable[[re.Match[str]], str]] = {
    "held by a process": _taken,
    "held": _taken,
    "full": _full,
    "no cpu": _no_cpu,
    "not started": _not_started,
}
"""What each message of `DEVICES` means."""
