"""The way in through Colab: badges, and a first cell that installs what is missing and no more."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import uv
from nbformat import NotebookNode

from graders.lesson import hosted
from graders.lesson.names import bound_names
from graders.lesson.python import parse
from graders.lesson.regions import SOLUTION, without_marks
from graders.lesson.source import lesson_folders, read_lesson

COURSE = Path(hosted.__file__).parents[2]
LESSONS = [folder.name for folder in lesson_folders(COURSE)]


def released(lesson: str) -> NotebookNode:
    return nbformat.read(COURSE / "course" / lesson / f"{lesson}.ipynb", as_version=4)


def set_up_cell(lesson: str) -> str:
    return next(cell.source for cell in released(lesson).cells if cell.cell_type == "code")


# ---- badges ----


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_link_stands_below_the_title(lesson: str) -> None:
    title, blank, link, after, *_ = released(lesson).cells[0].source.split("\n")
    assert title.startswith("# ")
    assert (blank, after) == ("", "")
    (page,) = re.findall(r"\[Open in Colab\]\((\S+)\)\Z", link)
    assert page.startswith(f"{hosted.COLAB}/github/")
    assert page.endswith(f"/blob/main/course/{lesson}/{lesson}.ipynb")


def test_the_readme_has_the_badges_that_the_builder_would_write() -> None:
    text = (COURSE / "README.md").read_text()
    for lesson in LESSONS:
        row = next(line for line in text.splitlines() if line.startswith(f"| {lesson} |"))
        assert hosted.readme_badge(lesson) in row
    assert f"\n{hosted.readme_links(LESSONS)}\n" in text


def test_the_address_comes_from_one_place() -> None:
    """Beside pyproject.toml it stands in what is generated, or compared with what would be."""
    name = hosted.repository().removeprefix("https://github.com/")
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", name)
    texts = {p: p.read_bytes() for p in sources()}
    holders = {
        str(path.relative_to(COURSE)) for path, text in texts.items() if name.encode() in text
    }
    assert holders == {"README.md", "pyproject.toml"}


def sources() -> list[Path]:
    """What is written by hand: the files of the root, and of the folders of code."""
    folders = ("graders", "solutions", "benchmarks", "data", ".github", ".ci")
    below = (path for folder in folders for path in (COURSE / folder).rglob("*"))
    return [p for p in (*COURSE.iterdir(), *below) if p.is_file() and p.suffix != ".pyc"]


# ---- the first cell, where it stands ----


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_first_cell_is_short_and_binds_no_name_of_the_lesson(lesson: str) -> None:
    source = set_up_cell(lesson)
    assert len(source.splitlines()) <= 18
    cells = read_lesson(COURSE / "solutions" / lesson).cells
    names = {name for cell in cells if cell.kind == "code" for name in bound_names(cell.tree)}
    assert not bound_names(parse(source)) & names


def test_where_all_is_there_it_does_nothing_and_does_not_import_jax() -> None:
    """Lessons 07 and 08 choose their devices after it, which a started JAX would not allow."""
    cells = [set_up_cell(lesson) for lesson in LESSONS]
    code = f"import sys\nfor cell in {cells!r}: exec(cell, {{}})\nassert 'jax' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


class Shell:
    """A stand-in for IPython's shell, which keeps what its magics are asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def run_line_magic(self, name: str, line: str) -> None:
        self.asked.append((name, shlex.split(line)))


def asked_of_pip(lesson: str, missing: set[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    def find_spec(name: str) -> object:
        return None if name in missing else found(name)

    shell, found = Shell(), importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", find_spec)
        exec(set_up_cell(lesson), {"get_ipython": lambda: shell})
    ((magic, words),) = shell.asked
    assert (magic, words[:2]) == ("pip", ["install", "--quiet"])
    return words[2:]


def test_the_jax_that_is_there_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: {"jax": "0.9.0", "jaxlib": "0.9.0+cuda12.local"}.get(name) or version(name),
    )
    assert asked_of_pip("00_start", {"graders"}, monkeypatch) == [
        "jax==0.9.0",
        "jaxlib==0.9.0+cuda12.local",
        f"jax-course @ git+{hosted.repository()}",
    ]


def test_a_missing_library_of_the_lesson_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, course, plots, optax = asked_of_pip(
        "08_mnist", {"graders", "matplotlib", "optax"}, monkeypatch
    )
    assert course.startswith("jax-course @ git+")
    assert re.fullmatch(r"matplotlib>=[\d.]+", plots)
    assert re.fullmatch(r"optax>=[\d.]+", optax)
    assert asked_of_pip("08_mnist", {"optax"}, monkeypatch)[2:] == [optax]


def test_a_module_with_another_name_than_its_package_is_known() -> None:
    known = hosted.known_libraries()
    assert known["sklearn"].startswith("scikit-learn>=")
    assert known["orbax"].startswith("orbax-checkpoint>=")
    assert all(importlib.util.find_spec(module) for module in known)


# ---- the first cell, where nothing is there ----

HOSTED_JAX = "jax==0.9.*"
RUN = """
import importlib.metadata, json, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
shown = []
for source in json.load(sys.stdin):
    with capture_output() as page:
        result = shell.run_cell(source)
    cards = [card.data["text/plain"] for card in page.outputs]
    error = result.error_before_exec or result.error_in_exec
    page = page.stdout + page.stderr
    shown.append({"error": error and repr(error), "page": page, "cards": cards})
versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "jax-course")}
graders = sys.modules["graders"].__file__
json.dump({"versions": versions, "cells": shown, "graders": graders}, sys.stdout)
"""


def lesson_up_to_its_first_check() -> list[str]:
    """The released cells of lesson 00 up to its first check, the exercise above it answered."""
    lesson = read_lesson(COURSE / "solutions" / "00_start")
    cells = [cell for cell in released("00_start").cells if cell.cell_type == "code"]
    ids = [cell.id for cell in cells]
    check = next(cell for cell in lesson.checks)
    exercise = lesson.exercises[str(check.check)]
    cells[ids.index(exercise.id)].source = without_marks(exercise.source, SOLUTION)
    return [cell.source for cell in cells[: ids.index(check.id) + 1]]


@pytest.fixture
def repository(tmp_path: Path) -> dict[str, str]:
    """Settings under which git finds the course's address in a repository of this working tree."""
    here, config = tmp_path / "repository", tmp_path / "gitconfig"
    shutil.copytree(
        COURSE / "graders", here / "graders", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(COURSE / name, here)
    config.write_text(
        f'[url "{here.as_uri()}"]\n\tinsteadOf = {hosted.repository()}\n'
        "[user]\n\tname = a\n\temail = a@example.org\n[protocol]\n\tversion = 2\n"
    )
    settings = os.environ | {"GIT_CONFIG_GLOBAL": str(config)}
    for command in ("init --quiet", "add --all", "commit --quiet --message=all"):
        subprocess.run(["git", *command.split()], cwd=here, env=settings, check=True)
    return settings


@pytest.mark.long  # it installs JAX and the course: one to five minutes, and the package index
def test_on_another_jax_the_first_cell_makes_the_lesson_run(
    tmp_path: Path, repository: dict[str, str]
) -> None:
    venv, wanted = tmp_path / "venv", [HOSTED_JAX, "pip", "ipython", "ipykernel", "matplotlib"]
    settings = {k: v for k, v in repository.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    settings |= {"IPYTHONDIR": str(tmp_path / "ipython"), "MPLBACKEND": "Agg"}
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    tool = uv.find_uv_bin()
    subprocess.run([tool, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    subprocess.run([tool, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    before = versions(python)
    cells = json.dumps(lesson_up_to_its_first_check())
    ran = subprocess.run(
        [python, "-c", RUN], input=cells, capture_output=True, text=True, env=settings, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout[ran.stdout.index('{"versions"') :])
    assert [cell["error"] for cell in found["cells"]] == [None] * len(found["cells"]), found
    assert found["cells"][-1]["cards"][0].count("✓") >= 3
    assert Path(found["graders"]).is_relative_to(venv)
    assert {name: found["versions"][name] for name in before} == before
    assert before["jax"] != importlib.metadata.version("jax")


def versions(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print(m.version('jax'), m.version('jaxlib'))"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return dict(zip(("jax", "jaxlib"), said.split(), strict=True))
