"""`make mutants`: do the tests notice? Small errors are put into graders/, one at a time.

A sample is drawn. Each is run against the test files of its module, in a copy of the checkout:
those with its name or in the table below, and those that import it or, if none does, what imports
it. What no test notices is printed with its file, line, column and change. Some of it changes
nothing that can be seen, some is noticed by other test files; the rest lacks a test.

No library does this. cosmic-ray 8.7 has neither a sample nor a seed, one test command for all
modules, and no edit that drops a call or a returned value; it edits the checkout itself. mutmut
3.8 has no sample either, and runs the whole suite to begin with. mutatest 3.1 breaks down on
Python 3.11.
"""

from __future__ import annotations

import argparse
import ast
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import graders
from graders.files import PACKAGE

ROOT, TESTS = PACKAGE.parent, PACKAGE / "tests"
KILLED, SURVIVES, OUT_OF_TIME, NO_TEST = "killed", "survives", "out of time", "has no test"
MOST = 4  # test files for each module
# What no import shows: modules that run in a process of their own or are called by other programs,
# and folders that are tested through what they are there for.
ALSO = {
    "graders": ["test_face", "test_backends"],
    "graders.__main__": ["test_cli"],
    "graders.author": ["test_build", "test_verify"],
    "graders.card": ["test_sheet", "test_card"],
    "graders.diagnosis": ["test_check_values"],
    "graders.diagnosis.errors": ["test_bad_input"],
    "graders.grading": ["test_grading", "test_classroom"],
    "graders.grading.record": ["test_pages_of_a_class"],
    "graders.lesson": ["test_source", "test_lint"],
    "graders.nbgrading": ["test_nbgrader"],
    "graders.notebook": ["test_notebook"],
    "graders.sandbox": ["test_sandbox"],
    "graders.seam": ["test_seam"],
    "graders.seam.shell": ["test_grading"],
}
OTHER: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One small error: bytes of a file and what takes their place."""

    path: Path  # below the root
    line: int
    column: int
    start: int
    end: int
    before: str
    after: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]

    def __str__(self) -> str:
        texts = (" ".join(text.split())[:70] for text in (self.before, self.after))
        return f"{self.path}:{self.line}:{self.column}: {' -> '.join(texts)}"


def mutants_of(path: Path, source: str) -> Iterator[Mutant]:
    """Every mutant of a file; annotations, decorators and the parts of f-strings stay."""
    starts = [0]
    for text in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    for node in _walk(ast.parse(source)):
        for changed, after in _changed(node):
            start = starts[changed.lineno - 1] + changed.col_offset
            end = starts[(changed.end_lineno or 0) - 1] + (changed.end_col_offset or 0)
            before = source.encode()[start:end].decode()
            column = changed.col_offset + 1
            yield Mutant(path, changed.lineno, column, start, end, before, after)


def _walk(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    if isinstance(node, ast.JoinedStr):  # before Python 3.12 its parts have no true place
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST):
                    yield from _walk(inner)


def _changed(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """This node, or its condition, with the source of each change of it."""
    match node:
        case ast.Compare(left, [operator], [right]):
            yield node, _text(ast.Compare(left, [OTHER[type(operator)]()], [right]))
        case ast.BoolOp(operator, values):
            yield node, _text(ast.BoolOp(OTHER[type(operator)](), values))
            for dropped in values:
                rest = [value for value in values if value is not dropped]
                yield node, _text(rest[0] if len(rest) == 1 else ast.BoolOp(operator, rest))
        case ast.BinOp(left, operator, right) if type(operator) in OTHER:
            yield node, _text(ast.BinOp(left, OTHER[type(operator)](), right))
        case ast.UnaryOp(ast.Not(), operand):
            yield node, _text(operand)
        case ast.Constant(bool() as value):
            yield node, repr(not value)
        case ast.Constant(int() | float() as value):
            yield node, repr(value + 1)
        case ast.If(test) | ast.IfExp(test) if ast.unparse(test) != "TYPE_CHECKING":
            yield test, "False"
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield node, "return None"
        case ast.Expr(ast.Call() | ast.YieldFrom() | ast.Yield()):
            yield node, "pass"


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


# ---- which tests ----


def imported(source: str) -> set[str]:
    """The modules of the package that a file imports, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            public = {graders._HOME.get(alias.name, "") for alias in node.names}
            found |= {node.module, *names} | (public if node.module == "graders" else set())
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith("graders.")}


def tests_of(module: str, imports: dict[str, set[str]]) -> list[str]:
    """The test files of a module: by its name, by the table, then those that import least else.

    `imports` has what each module imports.
    """
    folder, _, last = module.rpartition(".")
    named = [f"test_{last}", f"test_check_{last}", f"test_diagnosis_{last}"]
    named += [*ALSO.get(module, []), *ALSO.get(folder, [])]
    found = [name for one in named if (name := f"graders.tests.{one}") in imports]
    nearest = sorted(_nearest(module, imports), key=lambda name: len(imports[name]))
    return list(dict.fromkeys([*found, *nearest]))[:MOST]


def _nearest(module: str, imports: dict[str, set[str]]) -> set[str]:
    """The test files that import the module; where there is none, what imports it, and so on."""
    seen, nearest = {module}, {module}
    while nearest:
        nearest = {name for name, used in imports.items() if used & nearest} - seen
        if tests := {name for name in nearest if name.startswith("graders.tests.test_")}:
            return tests
        seen |= nearest
    return set()


# ---- running them ----


class Copies:
    """Copies of the checkout, one for each mutant that is tried at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        self.free: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            for name in filter(lambda name: (ROOT / name).is_file(), names.splitlines()):
                copy = folder / str(number) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy)
            self.free.put(folder / str(number))

    def run(self, tests: Sequence[str], seconds: float, mutant: Mutant | None = None) -> str:
        """What becomes of these test files with the mutant, or without any."""
        copy = self.free.get()
        try:
            with _put_into(copy, mutant) if mutant else nullcontext():
                return _outcome(copy, tests, seconds)
        finally:
            self.free.put(copy)


@contextmanager
def _put_into(copy: Path, mutant: Mutant) -> Iterator[None]:
    path = copy / mutant.path
    before = path.read_bytes()
    path.write_bytes(mutant.applied(before))
    try:
        yield
    finally:
        path.write_bytes(before)


def _outcome(copy: Path, tests: Sequence[str], seconds: float) -> str:
    paths = [name.replace(".", "/") + ".py" for name in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths]
    # A module that was compiled before it was changed would be as new as the changed one.
    variables = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=copy, env=variables, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        return KILLED if process.wait(seconds) else SURVIVES
    except subprocess.TimeoutExpired:
        return OUT_OF_TIME
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def sample(count: int, seed: int, under: str) -> list[Mutant]:
    """So many mutants of the modules under a folder of graders/."""
    paths = sorted(p for p in (PACKAGE / under).rglob("*.py") if not p.is_relative_to(TESTS))
    every = [m for p in paths for m in mutants_of(p.relative_to(ROOT), p.read_text())]
    return sorted(random.Random(seed).sample(every, min(count, len(every))), key=str)


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--under", default="", help="a folder of graders/, such as checks")
    asked = parser.parse_args(argv)
    sources = {module_of(p.relative_to(ROOT)): p.read_text() for p in PACKAGE.rglob("*.py")}
    imports = {name: imported(source) for name, source in sources.items()}
    drawn = sample(asked.count, asked.seed, asked.under)
    tests = {mutant: tests_of(module_of(mutant.path), imports) for mutant in drawn}
    print(f"{len(drawn)} mutants, seed {asked.seed}", flush=True)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        copies = Copies(Path(folder), asked.jobs)
        seconds: dict[str, float] = {}  # by test file, of those that pass without a mutant

        def timed(name: str) -> None:
            start = time.monotonic()
            if copies.run([name], 600) == SURVIVES:
                seconds[name] = time.monotonic() - start
            else:
                print(f"left out, for it fails without a mutant: {name}", flush=True)

        def tried(mutant: Mutant) -> None:
            files = [name for name in tests[mutant] if name in seconds]
            limit = 30 + 4 * sum(seconds[name] for name in files)
            outcome = copies.run(files, limit, mutant) if files else NO_TEST
            found[outcome] += 1
            if outcome != KILLED:
                print(f"{outcome}: {mutant}  ({', '.join(files)})", flush=True)

        list(pool.map(timed, sorted({name for names in tests.values() for name in names})))
        list(pool.map(tried, drawn))
    every = (KILLED, SURVIVES, OUT_OF_TIME, NO_TEST)
    print(", ".join(f"{found[outcome]} {outcome}" for outcome in every))


if __name__ == "__main__":
    main()
