"""The command line: what it calls, and what it says where something is wrong."""

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graders import cli, root
from graders.lab import server
from graders.material import mnist
from graders.root import NoCourse, course_root

VERBS = ["lab", "reset", "check", "fetch", "build", "site", "verify", "mutate", "sample-class"]
VERBS += ["grade"]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with one empty lesson; the current folder is inside it."""
    (tmp_path / "course" / "02_grad").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "course")
    return tmp_path


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    package = str(Path(cli.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line and line[0] in VERBS] == VERBS


@pytest.mark.parametrize("line", ["", "fly", "reset", "reset a b", "build --quick", "lab --port x"])
def test_a_line_that_is_not_understood_is_explained(line, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(line.split())
    assert left.value.code == 2
    assert "usage: jax-course" in capsys.readouterr().err


def test_lab_hands_on_what_only_jupyterlab_knows(course, monkeypatch):
    asked = []
    monkeypatch.setattr(server, "open_lab", lambda *given: asked.append(given) or 0)
    assert cli.main(["lab", "--no-browser", "--port", "9000", "--ip=0.0.0.0"]) == 0
    assert asked == [(course, ["--no-browser", "--ip=0.0.0.0"], 9000)]


def test_reset_takes_one_lesson(course, monkeypatch):
    asked = []
    monkeypatch.setattr(server, "start_afresh", lambda *given: asked.append(given) or 0)
    assert cli.main(["reset", "02_grad"]) == 0
    assert asked == [(course, "02_grad")]


@pytest.mark.parametrize(
    ("line", "module", "handed"),
    [
        ("build", "author.build", ([], False)),
        ("build 02_grad --check", "author.build", (["02_grad"], True)),
        ("verify", "author.verify", ([], "full")),
        ("verify 01_arrays 02_grad --long", "author.verify", (["01_arrays", "02_grad"], "long")),
        ("mutate", "author.mutation.run", ([], 0, 0, [])),
        (
            "mutate 02_grad --exercise hvp --sample 9 --seed 3",
            "author.mutation.run",
            (["02_grad"], 9, 3, ["hvp"]),
        ),
        ("sample-class", "sample.sample", ("root",)),
        ("grade --expect", "classroom.grade", ("root", [], [], {"expect": True})),
        ("grade --workers 3 --no-sandbox", "classroom.grade",
         ("root", [], [], {"workers": 3, "sandboxed": False})),
        ("grade 02_grad --student a --student b", "classroom.grade",
         ("root", ["02_grad"], ["a", "b"], {})),
        ("grade --yes", "classroom.grade", ("root", [], [], {"agreed": True})),
    ],
)  # fmt: skip
def test_a_verb_hands_on_what_was_asked(course, monkeypatch, line, module, handed):
    """Each part exists, takes these arguments, and its answer is the exit status."""
    part = importlib.import_module(f"graders.{module}")
    parameters = inspect.signature(part.main)
    asked = []
    monkeypatch.setattr(part, "main", lambda *given, **named: asked.append((given, named)) or 3)
    assert cli.main(line.split()) == 3
    *places, names = handed if isinstance(handed[-1], dict) else (*handed, {})
    [(given, named)] = asked
    assert given == tuple(course if value == "root" else value for value in places)
    bound = parameters.bind(*given, **named)
    defaults = {name: p.default for name, p in parameters.parameters.items() if name in named}
    assert {name: value for name, value in named.items() if value != defaults[name]} == names
    assert bound


def test_fetch_says_where_the_file_is(monkeypatch, capsys):
    monkeypatch.setattr(mnist, "fetch", lambda: Path("somewhere") / "mnist.npz")
    assert cli.main(["fetch"]) == 0
    assert capsys.readouterr().out == f"MNIST is in {Path('somewhere') / 'mnist.npz'}\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (mnist.DataError("MNIST is not here."), "MNIST is not here."),
        (PermissionError(13, "Permission denied", "work"), "[Errno 13] Permission denied: 'work'"),
        (ModuleNotFoundError("no", name="jupyterlab"), "jupyterlab is not installed here. With"),
    ],
    ids=["ours", "system", "missing"],
)
def test_what_a_user_can_mend_is_a_sentence(monkeypatch, capsys, error, said):
    monkeypatch.setattr(mnist, "fetch", raising(error))
    assert cli.main(["fetch"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"jax-course: {said}")


def raising(error):
    def function(*args):
        raise error

    return function


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(mnist, "fetch", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["fetch"])


def test_a_sentence_can_be_turned_into_a_traceback(monkeypatch):
    monkeypatch.setattr(mnist, "fetch", raising(mnist.DataError("no")))
    monkeypatch.setenv("JAX_COURSE_TRACEBACK", "1")
    with pytest.raises(mnist.DataError):
        cli.main(["fetch"])


def test_an_interruption_ends_in_silence(monkeypatch, capsys):
    monkeypatch.setattr(mnist, "fetch", raising(KeyboardInterrupt()))
    assert cli.main(["fetch"]) == 130
    assert capsys.readouterr().err == ""


def test_the_course_is_found_from_inside_it(course):
    assert course_root() == course
    assert course_root(course / "course" / "02_grad") == course


def test_elsewhere_it_is_the_one_beside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "installed" / "graders"
    (tmp_path / "installed" / "solutions" / "00_start").mkdir(parents=True)
    monkeypatch.setattr(root, "PACKAGE", package)
    assert course_root(Path(tmp_path.anchor)) == tmp_path / "installed"


def test_no_course_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(root, "PACKAGE", tmp_path / "graders")
    with pytest.raises(NoCourse, match=r"no lessons in .*Go to the folder that you downloaded"):
        course_root(tmp_path)


@pytest.mark.parametrize(
    "verb",
    [
        "cli.main(['--help'])",
        "cli.main(['reset', '02_grad'])",
        "runpy.run_module('graders.lab.health', run_name='__main__')",
    ],
    ids=["help", "reset", "health"],
)
def test_what_needs_no_jax_imports_none(course, verb):
    code = f"""
import contextlib, runpy, sys
from graders import cli
with contextlib.suppress(SystemExit):
    {verb}
print({{"jax", "numpy"}} & sys.modules.keys())
"""
    assert run("-c", code, cwd=course).stdout.splitlines()[-1] == "set()"


def test_python_m_graders_is_the_command(course):
    answer = run("-m", "graders", "reset", "grad", cwd=course)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        "jax-course: There is no lesson grad. Did you mean 02_grad? The lessons are 02_grad.\n"
    )


def test_importing_graders_starts_no_backend():
    """After the import the number of devices can still be set; with a backend it would raise."""
    late = "import jax; jax.config.update('jax_num_cpu_devices', 3); print(jax.device_count('cpu'))"
    everything = "import graders.cli, graders.material.mnist; from graders import *"
    answer = run("-c", f"{everything}; {late}")
    assert (answer.stdout, answer.stderr) == ("3\n", "")


def test_importing_graders_brings_nothing_beyond_the_base():
    """Colab installs the base alone: no extra may be imported."""
    extras = ["optax", "flax", "equinox", "orbax", "sklearn", "matplotlib", "nbgrader", "rich"]
    loaded = f"print([name for name in {extras} if name in sys.modules])"
    answer = run("-c", f"import sys; from graders import *; {loaded}")
    assert (answer.stdout, answer.stderr) == ("[]\n", "")
