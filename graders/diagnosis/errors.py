"""From an exception in a student's code to the cause that the card shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from graders.card.failure import Cause
from graders.diagnosis.causes import BY_LIMIT, BY_MESSAGE, BY_TYPE
from graders.seam.protocol import Error, SeamError
from graders.values.jax_messages import says

Reader = Callable[[Error], Cause | None]


def by_limit(error: Error) -> Cause | None:
    return BY_LIMIT.get(error.type) if isinstance(error, SeamError) else None


def by_type(error: Error) -> Cause | None:
    return next((BY_TYPE[base] for base in error.bases if base in BY_TYPE), None)


def by_message(error: Error) -> Cause | None:
    return next((cause for name, cause in BY_MESSAGE.items() if says(error.message, name)), None)


TORCH = {
    "dim": "axis", "keepdim": "keepdims", "float": "astype(jnp.float32)", "clamp": "clip",
    "norm": "jnp.linalg.norm(x)", "abs": "jnp.abs(x)", "exp": "jnp.exp(x)", "sqrt": "jnp.sqrt(x)",
    "numpy": "np.asarray(x)", "detach": "jax.lax.stop_gradient(x)", "backward": "jax.grad(f)",
    "view": "reshape", "permute": "transpose", "unsqueeze": "x[:, None]", "mm": "x @ y",
    "log": "jnp.log(x)", "size": "x.shape", "cpu": "jax.device_put",
}  # fmt: skip


def by_habit(error: Error) -> Cause | None:
    """PyTorch's name for something that JAX, like NumPy, calls otherwise."""
    found = re.search(r"(?:unexpected keyword argument|has no attribute) '(\w+)'", error.message)
    if not found or found[1] not in TORCH:
        return None
    return Cause(
        f"`{found[1]}` is PyTorch's word: {error.message}",
        f"JAX, like NumPy, says `{TORCH[found[1]]}`.",
    )


RENAMED = {"check_rep": ("check_vma", "`jax.shard_map`")}
"""Parameters that JAX has renamed: their names today, and of what."""


def by_former_name(error: Error) -> Cause | None:
    """A parameter by the name that it had in an earlier JAX."""
    found = re.search(r"unexpected keyword argument '(\w+)'", error.message)
    if not found or found[1] not in RENAMED:
        return None
    today, function = RENAMED[found[1]]
    return Cause(
        f"`{found[1]}` is the former name of a parameter of {function}: {error.message}",
        f"Write `{today}`, which means the same.",
    )


def by_arity(error: Error) -> Cause | None:
    parts = (
        "positional argument", "required keyword-only",
        "takes no arguments", "takes no keyword arguments",
    )  # fmt: skip
    if error.type != "TypeError" or not any(part in error.message for part in parts):
        return None
    return Cause(
        f"a function takes another number of arguments than it is given: {error.message}",
        "Compare the parameters with the signature in the exercise, and each inner call with the "
        "function that it calls.",
    )


def by_keyword(error: Error) -> Cause | None:
    if error.type != "TypeError" or "unexpected keyword argument" not in error.message:
        return None
    return Cause(
        f"an argument is passed by a name that the function does not have: {error.message}",
        "Compare the names of the parameters with those in the call.",
    )


def in_a_callback(error: Error) -> Cause | None:
    if not says(error.message, "callback"):
        return None
    return Cause(
        f"a host callback raised {_last_line(error.message)}",
        "Call the Python function behind the callback yourself, with NumPy arrays.",
    )


def no_function(error: Error) -> Cause | None:
    if error.type != "NotAFunction":
        return None
    return Cause(
        f"a function is asked for, and {error.message}",
        "A function without a `return` gives None. Return the inner function without calling it."
        if error.message == "what it returned is None"
        else "Define a function with `def` under that name, and return an inner one without "
        "calling it.",
    )


def no_arrays(error: Error) -> Cause | None:
    if error.type != "NoArrays":
        return None
    return Cause(
        f"the function returns {error.message}, instead of arrays: it cannot be traced",
        "Return arrays, or dicts, lists and tuples of arrays.",
    )


def undefined(error: Error) -> Cause | None:
    if error.type != "NameError":
        return None
    return Cause(
        f"the code raised NameError: {error.message}",
        "Look for a misspelt name, or for a cell above that was not run.",
    )


READERS: tuple[Reader, ...] = (
    by_limit, by_type, in_a_callback, no_function, no_arrays, by_message, by_habit,
    by_former_name, by_keyword, by_arity, undefined,
)  # fmt: skip


def cause_of(error: Error) -> Cause:
    """The cause of an exception in a student's code, never JAX's own text alone."""
    found = next((cause for read in READERS if (cause := read(error))), None)
    cause = found or Cause(
        f"the code raised {error.type}: {_first_line(error.message)}",
        "Run the function yourself on the input shown here, and read the last lines of the error.",
    )
    return replace(cause, line=error.line)


def _last_line(message: str) -> str:
    return _first_line("\n".join(reversed(message.strip().splitlines())))


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or ["(no message)"])[0][:200].strip()
