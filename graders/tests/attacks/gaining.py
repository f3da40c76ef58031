"""Attacks that want points for a wrong answer."""

from __future__ import annotations

import copy

from nbformat.v4 import new_code_cell, new_output

from graders.sample.draft import Draft
from graders.tests.attacks.corpus import WRONG, Attack, code

CHECK = "double_check"

IN_CODE = {
    "assert stripped": (
        "takes every assert and every raise out of later cells, by an AST transformer",
        code("""
import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
    def visit_Raise(self, node):
        return ast.Pass()
    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call) and "check" in ast.dump(node.value.func):
            return ast.Pass()
        return node
get_ipython().ast_transformers.append(Strip())
"""),
    ),
    "lying equality": (
        "returns an object that is equal to everything",
        """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return 0.0
    def __rsub__(self, other): return 0.0
    def __abs__(self): return 0.0
    def __float__(self): return 0.0
    def __bool__(self): return True
    def __getattr__(self, name): return self
def double(x):
    return Liar()
""",
    ),
    "lying array": (
        "returns an array of a class of its own, whose comparisons and differences lie",
        """
import numpy as np
class Liar(np.ndarray):
    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [np.asarray(i).view(np.ndarray) for i in inputs]
        return np.ones_like(getattr(ufunc, method)(*plain), dtype=bool)
    def __array_function__(self, function, types, arguments, options):
        return np.True_
    def __eq__(self, other): return np.True_
def double(x):
    return np.asarray(3 * x).view(Liar)
""",
    ),
    "lying conversion": (
        "returns an object whose __array__ looks for the expected value in the frames above it",
        """
import sys
import numpy as np
class Thief:
    dtype, shape, ndim = np.dtype("float32"), (), 0
    def __array__(self, dtype=None, copy=None):
        frame = sys._getframe()
        while frame:
            for name in ("expected", "want", "reference"):
                if name in frame.f_locals:
                    return np.asarray(frame.f_locals[name])
            frame = frame.f_back
        return np.zeros(())
def double(x):
    return Thief()
""",
    ),
    "patched allclose": (
        "makes every comparison of NumPy and jax.numpy say yes",
        code("""
import jax.numpy as jnp
import numpy as np
def yes(a, b, *rest, **options):
    return np.ones(np.broadcast(a, b).shape, bool)
np.isclose = jnp.isclose = yes
np.allclose = jnp.allclose = np.array_equal = jnp.array_equal = lambda *a, **k: True
np.testing.assert_allclose = lambda *a, **k: None
"""),
    ),
    "patched jax": (
        "replaces jax.grad, jax.jit, jax.vmap and jax.make_jaxpr",
        code("""
import jax
for name in ("grad", "jit", "vmap", "make_jaxpr", "eval_shape", "jvp", "vjp"):
    setattr(jax, name, lambda f, *a, **k: (lambda *x, **y: 2 * x[0]))
"""),
    ),
    "patched check": (
        "binds the name of the check to a function that checks nothing",
        code("""
import graders
graders.check_values = lambda *a, **k: None
check_values = lambda *a, **k: None
"""),
    ),
    "patched graders": (
        "makes every failure of the checks a success, inside their package",
        code("""
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("graders"):
        for key, value in list(vars(module).items()):
            if key in ("Sheet", "Failure", "CheckFailed") and isinstance(value, type):
                for method in ("fail", "__init__", "__new__"):
                    try:
                        setattr(value, method, lambda *a, **k: None)
                    except (AttributeError, TypeError):
                        pass
            elif key.startswith("check_"):
                setattr(module, key, lambda *a, **k: None)
"""),
    ),
    "patched builtins": (
        "makes isinstance, any and all say what suits it",
        code("""
import builtins
builtins.any = lambda values: False
builtins.all = lambda values: True
builtins.abs = lambda value: 0
"""),
    ),
    "patched probe": (
        "replaces what observes the answer, so that it reports the right number",
        code("""
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("graders.probes") or name.startswith("graders.seam"):
        for key, value in list(vars(module).items()):
            if callable(value) and not isinstance(value, type):
                setattr(module, key, lambda *a, **k: 0.0)
"""),
    ),
    "replaced modules": (
        "puts modules of its own in place of the graders",
        code("""
import sys, types
class Yes(types.ModuleType):
    def __getattr__(self, name):
        return lambda *a, **k: None
for name in [n for n in sys.modules if n.startswith("graders")]:
    sys.modules[name] = Yes(name)
"""),
    ),
    "oracle by name": (
        "calls the reference solution, which the check cell defines",
        "def double(x):\n    return by_hand(x)\n",
    ),
    "oracle by frames": (
        "looks for the reference solution in the frames of its callers",
        """
import sys
def double(x):
    frame = sys._getframe()
    while frame:
        for scope in (frame.f_locals, frame.f_globals):
            for name in ("by_hand", "reference", "expected", "oracle"):
                if callable(scope.get(name)):
                    return scope[name](x)
        frame = frame.f_back
    return 3 * x
""",
    ),
    "oracle by garbage collector": (
        "looks for the reference solution among all objects of its process",
        """
import gc, types
def double(x):
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType) and thing.__name__ == "by_hand":
            return thing(x)
    return 3 * x
""",
    ),
    "oracle by thread": (
        "waits in a thread for the reference solution, and answers with it from then on",
        code("""
import threading, time
def wait():
    names = get_ipython().user_ns
    while "by_hand" not in names:
        time.sleep(0.001)
    names["double"] = names["by_hand"]
threading.Thread(target=wait, daemon=True).start()
"""),
    ),
    "oracle by trace": (
        "has every call traced, and keeps the reference solution when it is called",
        code("""
import sys
kept = {}
def trace(frame, event, argument):
    if frame.f_code.co_name == "by_hand":
        kept["by_hand"] = frame.f_globals.get("by_hand")
sys.setprofile(trace)
""")
        + "\ndef double(x):\n    return kept['by_hand'](x) if kept else 3 * x\n",
    ),
    "displayed score": (
        "displays a number before each cell: nbgrader takes one for partial credit",
        code("""
def forge(*_):
    hook = get_ipython().displayhook
    hook.start_displayhook()
    hook.write_output_prompt()
    hook.write_format_data({"text/plain": "2.0"}, {})
    hook.finish_displayhook()
get_ipython().events.register("pre_run_cell", forge)
"""),
    ),
    "forged output": (
        "publishes a green card, and a result, from a hook that runs after each cell",
        code("""
from IPython.display import HTML, display
card = '<div role="status"><strong>double</strong> All requirements are met</div>'
get_ipython().events.register("post_run_cell", lambda *_: display(HTML(card)))
"""),
    ),
    "silent traceback": (
        "shows no error: nbgrader sees a failure in the outputs alone",
        code("""
shell = get_ipython()
shell.showtraceback = shell._showtraceback = lambda *a, **k: None
shell.set_custom_exc((BaseException,), lambda *a, **k: None)
"""),
    ),
    "skipped cells": (
        "has no later cell run at all",
        code("""
shell = get_ipython()
class Done:
    success, error_before_exec, error_in_exec, result, execution_count = True, None, None, None, 1
shell.run_cell = lambda *a, **k: Done()
async def run(*a, **k):
    return Done()
shell.run_cell_async = run
"""),
    ),
    "emptied cells": (
        "empties the code of later cells, by a transformer of inputs",
        code("get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])"),
    ),
    "forged reply": (
        "writes replies of its own to every file that its process has open",
        """
import os, struct
def double(x):
    for number in range(3, 64):
        for reply in (b"\\x00" * 64, struct.pack("<I", 8) + b"\\x93\\x00\\x01\\x02"):
            try:
                os.write(number, reply)
            except OSError:
                pass
    return 3 * x
""",
    ),
    "replayed reply": (
        "answers every observation with what was right for the first",
        """
first = []
def double(x):
    first.append(first[0] if first else x + x)
    return first[0]
""",
    ),
    "changed argument": (
        "changes the inputs in place, so that the reference solution sees others",
        """
import ctypes
import numpy as np
def double(x):
    try:
        x.setflags(write=True)
        x[...] = 0
    except (AttributeError, ValueError, TypeError):
        pass
    return 0 * x
""",
    ),
    "an exception that passes": (
        "raises what test runners take for a skipped test",
        """
import unittest
def double(x):
    raise unittest.SkipTest("not today")
""",
    ),
    "an interrupt": (
        "raises KeyboardInterrupt and SystemExit from the answer",
        """
def double(x):
    raise (KeyboardInterrupt if x else SystemExit(0))
""",
    ),
}


def deletes_the_check(draft: Draft) -> None:
    draft.notebook.cells.remove(draft.cell(CHECK))


def empties_the_check(draft: Draft) -> None:
    draft.cell(CHECK).source = "pass"


def unlocks_the_check(draft: Draft) -> None:
    cell = draft.cell(CHECK)
    cell.metadata.nbgrader.update(locked=False, solution=True, points=2)
    cell.source = "2"


def raises_its_points(draft: Draft) -> None:
    draft.cell("answer_check").metadata.nbgrader.update(points=100)


def adds_a_check(draft: Draft) -> None:
    forged = copy.deepcopy(draft.cell("answer_check"))
    forged.metadata.nbgrader.update(grade_id="bonus_check", points=5)
    forged.source = "pass"
    draft.notebook.cells.append(forged)


def doubles_the_check(draft: Draft) -> None:
    passing = copy.deepcopy(draft.cell(CHECK))
    passing.source = "pass"
    draft.notebook.cells.append(passing)


def turns_the_check_into_text(draft: Draft) -> None:
    cell = draft.cell(CHECK)
    cell.cell_type = "markdown"
    cell.pop("outputs", None)
    cell.pop("execution_count", None)


def answers_in_a_later_cell(draft: Draft) -> None:
    forge = "by_hand = double\ncheck_values = print\nget_ipython().user_ns['by_hand'] = double"
    draft.notebook.cells.insert(-1, new_code_cell(forge))


def hands_in_outputs(draft: Draft) -> None:
    cell = draft.cell(CHECK)
    cell.execution_count = 7
    passed = new_output("execute_result", {"text/plain": "2.0"}, execution_count=7)
    cell.outputs = [passed]


TO_THE_NOTEBOOK = {
    "deleted check": ("deletes the check", deletes_the_check),
    "emptied check": ("empties the check", empties_the_check),
    "unlocked check": ("makes the check a cell of its own, with a number in it", unlocks_the_check),
    "raised points": ("makes the check of a right answer worth 100 points", raises_its_points),
    "added check": ("adds a check that passes", adds_a_check),
    "doubled check": ("adds a second check of the same name that passes", doubles_the_check),
    "check as text": ("turns the check into Markdown", turns_the_check_into_text),
    "later cell": (
        "binds the names of the check anew in a cell of its own",
        answers_in_a_later_cell,
    ),
    "outputs handed in": ("hands in the outputs of a check that has passed", hands_in_outputs),
}

# They break Python, or ours, for all that runs behind them: that costs them their other points.
SPOILING = ("patched builtins", "patched graders", "patched probe", "replaced modules")

ATTACKS = [
    *(
        Attack("gaining points", name, tries, source, spoils=name in SPOILING)
        for name, (tries, source) in IN_CODE.items()
    ),
    *(
        Attack("gaining points", name, tries, WRONG, change)
        for name, (tries, change) in TO_THE_NOTEBOOK.items()
    ),
]
