"""`jax-course lab` and `jax-course reset`: JupyterLab as a student meets it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from graders import lab
from graders.tests.test_working_copy import NOTEBOOK, sources, write_notebook

TOKEN = "token-of-this-test"


@pytest.fixture
def root(tmp_path):
    write_notebook(tmp_path / "course" / NOTEBOOK, "stub")
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """The options that JupyterLab would have been started with."""
    options = []
    monkeypatch.setattr(lab, "_run_jupyterlab", lambda root, given: options.extend(given) or 0)
    return options


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_first_start_opens_the_first_lesson_and_the_next_what_was_open(root, started):
    lab.open_lab(root, ["--no-browser"])
    assert started == [
        "--LabApp.default_url=/lab/tree/02_grad/02_grad.ipynb",
        "--no-browser",
    ]
    started.clear()
    lab.open_lab(root, ["--no-browser"])
    assert started == ["--no-browser"]


def test_a_kept_notebook_is_told_in_one_sentence_with_the_way_out(root, started, capsys):
    lab.open_lab(root, [])
    write_notebook(root / "work" / NOTEBOOK, "answer")
    write_notebook(root / "course" / NOTEBOOK, "better stub")
    capsys.readouterr()
    lab.open_lab(root, [])
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith(
        "02_grad/02_grad.ipynb has a newer version; yours, with what you wrote, was kept. "
        "To have the new one, with yours beside it: "
    )
    assert told.endswith("jax-course reset 02_grad")


def test_a_port_in_use_is_said(root, started, taken_port):
    with pytest.raises(lab.LabError, match=f"Port {taken_port} is in use. Name another, or leave"):
        lab.open_lab(root, [], taken_port)
    assert started == []


def test_a_free_port_is_handed_on(root, started, taken_port):
    lab.open_lab(root, [], taken_port + 1)
    assert started[-1] == f"--ServerApp.port={taken_port + 1}"


@pytest.mark.parametrize("verb", [lambda r: lab.open_lab(r, []), lambda r: lab.folders(r)])
def test_a_course_that_is_missing_is_said(tmp_path, started, verb):
    with pytest.raises(lab.LabError, match=r"no lessons in .*course.*jax-course build"):
        verb(tmp_path)
    assert not (tmp_path / "work").exists()


def test_reset_says_where_the_answers_are(root, started, capsys):
    lab.open_lab(root, [])
    write_notebook(root / "work" / NOTEBOOK, "answer")
    capsys.readouterr()
    lab.start_afresh(root, "02_grad")
    backup = Path("work", "02_grad", "02_grad.backup-1.ipynb")
    assert capsys.readouterr().out.splitlines() == [
        "02_grad is as it was at first.",
        f"Your answers are in {backup}.",
    ]
    assert sources(root / backup) == ["answer"]


def test_a_command_that_is_not_on_the_path_is_named_by_its_place(monkeypatch):
    monkeypatch.setattr(lab.shutil, "which", lambda name: None)
    monkeypatch.setattr(lab, "_scripts", lambda: Path.cwd() / ".venv" / "bin")
    assert lab.command() == os.path.join(".venv", "bin", "jax-course")


def test_a_jupyterhub_that_calls_gets_the_server_that_it_can_talk_to(root, monkeypatch):
    """And it serves the same copy of the lessons, with the same settings."""
    import jupyterhub.singleuser

    calls = []
    monkeypatch.setattr(jupyterhub.singleuser, "main", calls.append)
    monkeypatch.setattr(lab.os, "environ", dict(os.environ) | {lab.HUB: "http://0.0.0.0:8888/"})
    monkeypatch.chdir(root)
    lab.open_lab(root, ["--no-browser"])
    assert [f"--ServerApp.root_dir={root / 'work'}", "--no-browser"] == [calls[0][0], calls[0][-1]]
    assert str(lab.SETTINGS) in lab.os.environ["JUPYTER_CONFIG_PATH"]
    assert (root / "work" / NOTEBOOK).exists()


@pytest.fixture
def server(root, taken_port):
    """A real JupyterLab on the copy; yields a function that asks it for a page."""
    port = taken_port + 1
    write_notebook(root / "course" / "02_grad" / "00_valid.ipynb", "x = 2")
    (root / "nbgrader_config.py").write_text("open('was_read', 'w').close()")
    command = [sys.executable, "-m", "graders", "lab", "--no-browser", "--allow-root"]
    options = [f"--port={port}", f"--IdentityProvider.token={TOKEN}"]
    process = subprocess.Popen([*command, *options], cwd=root, env=_environment())
    yield lambda page, data=None: _ask(port, page, data)
    process.terminate()
    process.wait(20)


def _environment() -> dict[str, str]:
    package = Path(lab.__file__).parents[1]
    return os.environ | {"PYTHONPATH": str(package), "JUPYTER_PLATFORM_DIRS": "1"}


def _ask(port: int, page: str, data: dict | None) -> str:
    body = json.dumps(data).encode() if data else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{page}", body)
    request.add_header("Authorization", f"token {TOKEN}")
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(150):
        try:
            with without_proxy.open(request, timeout=60) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(page)


def test_the_students_jupyterlab(server, root):
    """It serves the copy; Validate is there, by the course's settings; the instructor's is not."""
    contents = json.loads(server("api/contents/02_grad"))
    assert [entry["name"] for entry in contents["content"]] == ["00_valid.ipynb", "02_grad.ipynb"]

    page = server("lab")
    assert "@jupyter/nbgrader:formgrader" in page.split('"disabledExtensions"')[1]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server("formgrader")

    notebook = {"path": "02_grad/00_valid.ipynb"}
    assert json.loads(server("assignments/validate", notebook)) == {"success": True, "value": {}}
    assert (root / "was_read").exists()
