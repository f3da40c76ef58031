"""Signs that a student's code reaches for the process that observes it.

They are for the instructor, and cost no points: code that knows this module can hide from it, and
an honest cell may look into a frame. What a cell says is read before any cell of the student's has
run in the process; which functions have been replaced is looked at afterwards, by code that the
student's could have replaced too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from graders.seam.shell import python

FRAMES = (
    "_getframe", "_current_frames", "currentframe", "f_back", "f_globals", "f_locals", "ag_frame",
    "cr_frame", "gi_frame", "tb_frame", "setprofile", "settrace",
)  # fmt: skip
DESCRIPTORS = ("fdopen", "dup2", "sendfile", "memfd_create", "pidfd_open")
MODULES = ("ctypes", "socket", "multiprocessing", "subprocess", "_ctypes", "_socket", "cffi")
OBJECTS = ("get_objects", "get_referents", "get_referrers")  # of `gc`; who collects sees none
OF_OS = ("write", "read", "dup", "fork", "pipe", "close", "closerange", "kill")
OURS = (
    "probes", "seam", "grading", "judging", "values", "checks", "card", "sandbox", "diagnosis",
    "lesson", "notebook",
)  # fmt: skip
JAX = (
    "jax", "jax.numpy", "jax.lax", "jax.random", "jax.nn", "jax.tree", "jax.tree_util",
    "jax.export", "jax.sharding", "numpy", "jax._src.api", "jax._src.interpreters.mlir",
)  # fmt: skip
"""Modules beside `graders` whose functions an observation relies on."""
MOST_NAMES, LONGEST_NAME = 5, 100
"""Replaced functions that are named; of more there is a number."""
_NAME = re.compile(r"(?:graders|jax|numpy)(?:\.[A-Za-z_][A-Za-z0-9_]*)+")


@lru_cache(4096)
def reaches_for(source: str) -> list[str]:
    """What the code of a cell names that no exercise needs; nothing where it is no Python.

    Example:
        >>> reaches_for("import sys; sys._getframe()")
        ['frames (_getframe)']
    """
    try:
        tree = ast.parse(python(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(dict.fromkeys(what for node in ast.walk(tree) for what in _reached(node)))


def _reached(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (found for alias in node.names for found in _of_module(alias.name))
    elif isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (found for name in names for found in _of_module(name))
    elif isinstance(node, ast.Attribute):
        yield from _of_attribute(node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if node.value in FRAMES:
            yield f"frames ({node.value})"
        elif node.value.startswith("/proc/"):
            yield "/proc"


def _of_module(name: str) -> Iterator[str]:
    first, _, rest = name.partition(".")
    if first in MODULES:
        yield first
    elif name == "sys.modules":
        yield name
    elif first == "gc" and rest in OBJECTS:
        yield f"all objects ({rest})"
    elif (first == "sys" or first == "inspect") and rest in FRAMES:
        yield f"frames ({rest})"
    elif first == "os" and rest in (*DESCRIPTORS, *OF_OS):
        yield f"descriptors or processes (os.{rest})"
    elif first == "graders" and rest.split(".")[0] in OURS:
        yield f"graders.{rest.split('.')[0]}"


def _of_attribute(node: ast.Attribute) -> Iterator[str]:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    if node.attr in FRAMES:
        yield f"frames ({node.attr})"
    elif node.attr in DESCRIPTORS:
        yield f"descriptors or processes ({node.attr})"
    elif node.attr in OBJECTS:
        yield f"all objects ({node.attr})"
    elif owner:
        yield from _of_module(f"{owner}.{node.attr}")


class Functions:
    """The functions of `graders` and of JAX as they were when this was made."""

    def __init__(self) -> None:
        self.before = dict(_functions())

    def replaced(self) -> list[str]:
        """The names of those that are other ones now."""
        now = dict(_functions())
        return sorted(name for name, one in self.before.items() if now.get(name) != one)


def replaced_sign(names: Sequence[str]) -> list[str]:
    """A line that names functions which are said to have been replaced; nothing where none is.

    Args:
        names: what a student's process says. What could be no name of a function of `graders`, JAX
            or NumPy is counted, and not shown: it would be a text of the student's.
    """
    if not names:
        return []
    shown = [name for name in names if len(name) <= LONGEST_NAME and _NAME.fullmatch(name)]
    shown = shown[:MOST_NAMES]
    rest = len(names) - len(shown)
    more = f"{rest} more" if shown else f"{rest} without a name"
    listed = " and ".join([", ".join(shown)] * bool(shown) + [more] * bool(rest))
    return [f"replaced functions: {listed}"]


def _functions() -> Iterator[tuple[str, Any]]:
    """The name of each function, with what changes when it is replaced."""
    for module_name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType):
            continue
        if module_name in JAX or module_name.split(".")[0] == "graders":
            yield from _in(module_name, vars(module))


def _in(owner: str, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in list(names.items()):
        if name.startswith("__") or isinstance(value, ModuleType):
            continue
        path = f"{owner}.{name}"
        if isinstance(value, type):
            yield path, id(value)
            if owner.startswith("graders") and value.__module__ == owner:
                yield from _in(path, dict(vars(value)))
        elif callable(value):
            yield path, (id(value), _body(value))
        elif isinstance(value, dict) and owner.startswith("graders"):
            yield path, {key: id(one) for key, one in value.items() if callable(one)}


def _body(function: Any) -> Any:
    return (function.__code__, function.__defaults__) if type(function) is FunctionType else None
