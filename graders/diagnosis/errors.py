"""What an exception in a student's code usually means."""

from __future__ import annotations

import re
from collections.abc import Callable

from graders.card.failure import Cause
from graders.diagnosis import transformations
from graders.seam.protocol import Error

Reader = Callable[[Error], Cause | None]

BY_TYPE = {
    "TracerBoolConversionError": Cause(
        "a Python `if` or `while` looks at a traced value: while JAX traces a function its "
        "arguments have a shape and a dtype, but no value to decide by",
        "Choose with `jnp.where` or `jax.lax.cond`, repeat with `jax.lax.while_loop`, or decide by "
        "shapes.",
    ),
    "TracerArrayConversionError": Cause(
        "a NumPy function was given a traced array: `np` needs the numbers, which are not there "
        "while JAX traces",
        "Use the function of the same name from `jnp`.",
    ),
    "NonConcreteBooleanIndexError": Cause(
        "a boolean mask selects an unknown number of elements: the shape of the result would "
        "depend on values, and under tracing shapes are fixed",
        "Keep the shape: use the mask in `jnp.where(mask, x, 0)`, and divide by `mask.sum()` "
        "where a mean is meant.",
    ),
    "TracerIntegerConversionError": Cause(
        "a traced value is used as a Python integer: it needs a concrete value while it is traced",
        "Index JAX arrays with it (`x[i]` of a `jnp` array), or take the number from a shape.",
    ),
    "ConcretizationTypeError": Cause(
        "a value was asked for that needs a concrete value while it is traced: `int(...)`, "
        "`float(...)`, `.item()`, or a size that depends on data",
        "Stay with arrays from beginning to end, and take sizes from `x.shape`.",
    ),
    "UnexpectedTracerError": Cause(
        "a tracer escaped from the function that made it: something kept an intermediate value",
        "Return the value instead of storing it in a global, a list or an attribute.",
    ),
    "KeyReuseError": Cause(
        "a random key was used twice",
        "Split the key, and use each part once.",
    ),
    "RecursionError": Cause(
        "the function calls itself without end",
        "Look for the call that leads back to the function; give the recursion an end, or use a "
        "loop.",
    ),
    "SystemExit": Cause(
        "the answer stops the whole program: it calls `exit` or `sys.exit`",
        "Return a value instead.",
    ),
    "ProcessEnded": Cause(
        "the answer ended the process that it ran in",
        "Remove calls such as `os._exit`, and memory use without bound.",
    ),
    "MemoryLimit": Cause(
        "the answer used up the memory that it may have, or its process was killed",
        "Look for an array or a list that grows without end; JAX keeps every intermediate value "
        "that a derivative needs.",
    ),
    "Garbled": Cause(
        "the process of the answer has sent something that cannot be read",
        "Remove what writes to other files or pipes of the process; return values instead.",
    ),
    "OutputLimit": Cause(
        "it prints without end",
        "Look for a `print` in a loop that does not end.",
    ),
    "TimeLimit": Cause(
        "the answer ran past its time limit",
        "Look for a loop that does not end.",
    ),
}


def by_type(error: Error) -> Cause | None:
    return next((BY_TYPE[base] for base in error.bases if base in BY_TYPE), None)


def by_message(error: Error) -> Cause | None:
    message = error.message.casefold()
    known = (*BY_MESSAGE, *transformations.BY_MESSAGE)
    return next((cause for part, cause in known if part.casefold() in message), None)


BY_MESSAGE = [
    (
        "Slice entries must be static",
        Cause(
            "a slice whose ends depend on values: under tracing shapes are fixed, and so are "
            "slices (`jax.jit(f)(...)` shows the error)",
            "Keep the whole array and choose with a mask: `jnp.arange(n) < length`.",
        ),
    ),
    (
        "truth value of an array with more than one element is ambiguous",
        Cause(
            "a Python `if`, `while`, `and` or `or` asks a whole array whether it is true",
            "Choose element by element with `jnp.where`; join conditions with `&` and `|`; or "
            "reduce with `jnp.all` or `jnp.any`.",
        ),
    ),
    (
        "JAX arrays are immutable",
        Cause(
            "JAX arrays cannot be changed in place",
            "Make a new array: `x = x.at[index].set(value)`, or `.add(value)`.",
        ),
    ),
    (
        "does not support item assignment",
        Cause(
            "JAX arrays cannot be changed in place",
            "Make a new array: `x = x.at[index].set(value)`, or `.add(value)`.",
        ),
    ),
    (
        "Gradient only defined for scalar-output functions",
        Cause(
            "this asks for the gradient of a function that does not return a scalar",
            "Reduce the result to one number (`.sum()` or `.mean()`), or ask for a Jacobian.",
        ),
    ),
    (
        "requires real- or complex-valued inputs",
        Cause(
            "this asks for the gradient by integers, which have no derivative",
            "Differentiate by a float argument: look at `argnums`, and at the dtype of the input.",
        ),
    ),
    (
        "can't apply forward-mode differentiation (jvp) to a custom_vjp",
        Cause(
            "forward mode (`jax.jvp`, `jax.jacfwd`) goes through a custom_vjp, which has none",
            "Use reverse mode (`jax.grad`, `jax.vjp`, `jax.jacrev`), or write a custom_jvp.",
        ),
    ),
    (
        "Reverse-mode differentiation does not work for lax.while_loop",
        Cause(
            "a loop without a fixed length cannot be differentiated in reverse",
            "Use `jax.lax.scan`, or `fori_loop` with bounds that are Python numbers.",
        ),
    ),
    (
        "Shapes must be 1D sequences of concrete values",
        Cause(
            "a shape is made from a traced value: a size needs a concrete value while it is traced",
            "Take sizes from `x.shape`, or make the argument static.",
        ),
    ),
    (
        "for argument to VJP function",
        Cause(
            "the pullback of `jax.vjp` is given a cotangent of another shape or dtype than the "
            "value has",
            "Look at what the function returns: the cotangent is of the same shape and dtype.",
        ),
    ),
    (
        "Non-hashable static arguments",
        Cause(
            "a static argument is an array or a list: JAX compiles once for each value of it, and "
            "must be able to hash it",
            "Make only numbers, strings, tuples and functions static; pass arrays as usual.",
        ),
    ),
    (
        "Array has been deleted",
        Cause(
            "an array is used after it was donated: its memory already holds a result",
            "Use the result instead (`x = step(x)`), or leave `donate_argnums` out.",
        ),
    ),
    (
        "Buffer has been deleted or donated",
        Cause(
            "an array is used after it was donated: its memory already holds a result",
            "Use the result instead (`x = step(x)`), or leave `donate_argnums` out.",
        ),
    ),
    (
        "custom vjp",
        Cause(
            "a custom_vjp is not put together as JAX expects",
            "The forward rule returns `(output, residuals)`, the backward rule takes "
            "`(residuals, cotangent)` and returns one value for each argument, as a tuple.",
        ),
    ),
    (
        "custom_vjp",
        Cause(
            "a custom_vjp is not put together as JAX expects",
            "The forward rule returns `(output, residuals)`, the backward rule takes "
            "`(residuals, cotangent)` and returns one value for each argument, as a tuple.",
        ),
    ),
    (
        "dot_general requires contracting dimensions",
        Cause(
            "a matrix product of shapes that do not fit",
            "Write the two shapes side by side: the inner sizes must agree.",
        ),
    ),
    (
        "Incompatible shapes for broadcasting",
        Cause(
            "two shapes that do not broadcast against each other",
            "Align the shapes from the right: each pair of sizes must be equal, or one of them 1; "
            "insert axes with `x[:, None]`.",
        ),
    ),
    (
        "got incompatible shapes for broadcasting",
        Cause(
            "two shapes that do not broadcast against each other",
            "Align the shapes from the right: each pair of sizes must be equal, or one of them 1; "
            "insert axes with `x[:, None]`.",
        ),
    ),
    (
        "not a valid JAX type",
        Cause(
            "a JAX function was given something that is no array",
            "Pass arrays (or pytrees of arrays); register a class of your own as a pytree.",
        ),
    ),
    (
        "is not callable",
        Cause(
            "something is called that is no function",
            "Look at what each name holds: a value may have taken the name of a function.",
        ),
    ),
]


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


def by_arity(error: Error) -> Cause | None:
    parts = (
        "positional argument", "unexpected keyword argument", "required keyword-only",
        "takes no arguments", "takes no keyword arguments",
    )  # fmt: skip
    if error.type != "TypeError" or not any(part in error.message for part in parts):
        return None
    return Cause(
        f"a function takes another number of arguments than it is given: {error.message}",
        "Compare the parameters with the signature in the exercise, and each inner call with the "
        "function that it calls.",
    )


def in_a_callback(error: Error) -> Cause | None:
    if "CpuCallback error" not in error.message:
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
        "Define a function with `def` under that name, and return an inner one without calling it.",
    )


def no_arrays(error: Error) -> Cause | None:
    if error.type != "NoArrays":
        return None
    return Cause(
        f"the function returns {error.message}, where arrays are meant: it cannot be traced",
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
    by_type, in_a_callback, no_function, no_arrays, by_message, by_habit, by_arity, undefined,
)  # fmt: skip


def cause_of(error: Error) -> Cause:
    """The cause of an exception in a student's code, never JAX's own text alone."""
    found = next((cause for read in READERS if (cause := read(error))), None)
    cause = found or Cause(
        f"the code raised {error.type}: {_first_line(error.message)}",
        "Run the function yourself on the input shown here, and read the last lines of the error.",
    )
    return _with_line(cause, error.line)


def _last_line(message: str) -> str:
    return _first_line("\n".join(reversed(message.strip().splitlines())))


def _first_line(message: str) -> str:
    return (message.strip().splitlines() or ["(no message)"])[0][:200].strip()


def _with_line(cause: Cause, line: str) -> Cause:
    where = f", in the line `{line}`" if line else ""
    return Cause(cause.diagnosis + where, cause.next_step)
