"""The face of the package: its names, what an editor shows of a check, what a type checker sees."""

from __future__ import annotations

import inspect
import json
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import graders

CHECKS = [name for name in graders.__all__ if name.startswith("check_")]


def test_the_three_lists_of_public_names_agree() -> None:
    assert sorted(graders._HOME) == graders.__all__ == sorted(graders.__all__)
    shown = Path(graders.__file__).read_text()
    for name, home in graders._HOME.items():
        assert f"    from {home} import {name} as {name}\n" in shown
    assert shown.count(" as ") == len(graders.__all__)


def test_help_lists_every_public_name() -> None:
    text = pydoc.plain(pydoc.render_doc(graders))
    assert [name for name in graders.__all__ if f"{name}(" not in text] == []
    assert "DESCRIPTION" in text


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'check_nothing'"):
        _ = graders.check_nothing
    with pytest.raises(ImportError):
        exec("from graders import check_nothing")


@pytest.mark.parametrize("name", CHECKS)
def test_an_editor_shows_what_a_check_takes(name: str) -> None:
    check = getattr(graders, name)
    parameters = inspect.signature(check).parameters
    assert next(iter(parameters)) == "answer"
    assert parameters["about"].kind is inspect.Parameter.KEYWORD_ONLY
    named = [p for p in parameters if p not in ("answer", "args", "dims")]
    text = inspect.getdoc(check) or ""  # from Python 3.13 on a docstring has no indentation
    assert [parameter for parameter in named if f"\n    {parameter}: " not in text] == []


CALLS = """\
from graders import check_shape, check_values, sweep

check_values(abs, abs, sweep("n"), about="fine")
check_shape(abs, 1, returns="n", n=3)
check_values(abs, oracel=abs, cases=sweep("n"))
check_values(abs, abs, sweep("n"), about=3)
"""


def test_a_misspelt_argument_is_a_type_error(tmp_path: Path) -> None:
    (tmp_path / "cell.py").write_text(CALLS)
    here = {"extraPaths": [str(Path(graders.__file__).parents[1])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(here))
    checker = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "cell.py"]
    done = subprocess.run(checker, cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert {line.split(":")[1] for line in errors} == {"5", "6"}, done.stdout
    assert any("oracel" in line for line in errors)
