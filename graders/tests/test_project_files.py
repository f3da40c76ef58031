"""Workflows, hooks and static checks: they agree with the project, and each of them can fail."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import graders

ROOT = Path(graders.__file__).parents[1]
FOLDERS = [".ci", ".devcontainer", ".github/workflows", ".github/ISSUE_TEMPLATE"]
FILES = [".pre-commit-config.yaml", "Makefile", "pyproject.toml"]
# The tool that GitHub itself would complain with: the schema is in its wheel.
SCHEMAS = {
    "vendor.github-workflows": ".github/workflows",
    "vendor.github-issue-forms": ".github/ISSUE_TEMPLATE",
}


def pythons(root: Path) -> list[str]:
    """The versions of Python that the course says it runs on."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    found = (re.fullmatch(r".* :: (3\.\d+)", c) for c in project["classifiers"])
    return [match[1] for match in found if match]


def jobs(root: Path) -> Iterator[tuple[str, dict]]:
    for path in sorted((root / ".github/workflows").glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            yield f"{path.stem}/{name}", job


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def recipe(root: Path, target: str) -> list[str]:
    """The lines that make runs for a target itself."""
    found = re.search(rf"(?m)^{target}:.*\n((?:\t.*\n)*)", (root / "Makefile").read_text())
    return found[1].replace("$(BIN)/", "").split("\n\t") if found else []


# ---- claims, and what makes each false ----


def files_keep_githubs_schemas(root: Path) -> Iterator[str]:
    for schema, folder in SCHEMAS.items():
        paths = [p for p in sorted((root / folder).glob("*.yml")) if p.stem != "config"]
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *paths]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield done.stdout + done.stderr


def each_job_runs_on_each_python(root: Path) -> Iterator[str]:
    for name, job in jobs(root):
        if job["strategy"]["matrix"] != {"python": pythons(root)}:
            yield f"{name} does not run on {pythons(root)}"
        versions = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
        if versions != [{"python-version": "${{ matrix.python }}"}]:
            yield f"{name} sets up {versions}"


def linux_runs_every_test(root: Path) -> Iterator[str]:
    linux = dict(jobs(root))["test/linux"]
    if not linux["runs-on"].startswith("ubuntu") or commands(linux)[-1] != ".ci/run":
        yield "no job runs .ci/run on Linux"


def macos_runs_what_needs_no_sandbox(root: Path) -> Iterator[str]:
    macos = dict(jobs(root))["test/macos"]
    if not macos["runs-on"].startswith("macos") or "test-unsandboxed" not in commands(macos)[-1]:
        yield "no job runs test-unsandboxed on macOS"
    if '-m "not long and not sandbox"' not in recipe(root, "test-unsandboxed")[-1]:
        yield "test-unsandboxed runs tests that need the sandbox"


def jobs_may_only_read(root: Path) -> Iterator[str]:
    for path in (root / ".github/workflows").glob("*.yml"):
        if yaml.safe_load(path.read_text()).get("permissions") != {"contents": "read"}:
            yield f"{path.name} has more rights than it needs"


def targets_that_are_run_are_there(root: Path) -> Iterator[str]:
    for name, job in jobs(root):
        for target in re.findall(r"make ([\w-]+)", "\n".join(commands(job))):
            if not recipe(root, target):
                yield f"{name} runs make {target}, which is not in the Makefile"


TOOLS = {
    "ruff check",
    "ruff format --check",
    "basedpyright --pythonpath python",
    "lint-imports",
    "deptry .",
    "check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml",
    "check-jsonschema --builtin-schema vendor.github-issue-forms $(ISSUE_FORMS)",
    "jax-course build --check",
}


def static_checks_are_written_once(root: Path) -> Iterator[str]:
    text = (root / "Makefile").read_text()
    for target in ("test", "test-all", "test-unsandboxed"):
        if not re.search(rf"(?m)^{target}: static\b", text):
            yield f"{target} does not run the static checks"
    static = {line.strip() for line in recipe(root, "static")}
    if static != TOOLS:
        yield f"static differs in {sorted(static ^ TOOLS)}"


def hooks_run_the_static_checks(root: Path) -> Iterator[str]:
    [local] = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].replace(".venv/bin/", "") for hook in local["hooks"]]
    for tool in TOOLS:
        start = re.sub(r" (--check|\S*\.github/\S*|\$\(ISSUE_FORMS\))$", "", tool)
        if not any(entry.startswith(start) for entry in entries):
            yield f"no hook runs {start}"


def container_has_a_python_of_ours(root: Path) -> Iterator[str]:
    settings = json.loads((root / ".devcontainer/devcontainer.json").read_text())
    version = re.fullmatch(r"python:([\d.]+)-\w+", settings["image"])
    if not version or version[1] not in pythons(root):
        yield f"the development container is {settings['image']}"
    if settings["postCreateCommand"] != "make .venv/ready":
        yield "the development container does not make the environment"


TEST, NEWEST = ".github/workflows/test.yml", ".github/workflows/newest.yml"
HOOKS, FORM = ".pre-commit-config.yaml", ".github/ISSUE_TEMPLATE/verdict.yml"
CONTAINER = ".devcontainer/devcontainer.json"
# Each claim, and what makes it false: a file, what is changed in it, what is then said.
BREAKS = {
    files_keep_githubs_schemas: [
        (TEST, "    runs-on: ubuntu-latest\n", "", "'runs-on' is a required property"),
        (NEWEST, "schedule:", "scheduled:", "'scheduled'"),
        (FORM, "type: dropdown", "type: menu", "'menu'"),
    ],
    each_job_runs_on_each_python: [
        (TEST, '"3.12", ', "", "test/linux does not run on ['3.11', '3.12', '3.13']"),
        (NEWEST, "${{ matrix.python }}", "3.12", "newest/newest sets up"),
        ("pyproject.toml", 'Python :: 3.13",', 'Python :: 3.14",', "macos does not run on"),
    ],
    linux_runs_every_test: [(TEST, "run: .ci/run", "run: make lab", "no job runs .ci/run")],
    macos_runs_what_needs_no_sandbox: [
        (TEST, "test-unsandboxed", "lab", "no job runs test-unsandboxed"),
        ("Makefile", " and not sandbox", "", "runs tests that need the sandbox"),
    ],
    jobs_may_only_read: [(NEWEST, "contents: read", "contents: write", "newest.yml has more")],
    targets_that_are_run_are_there: [
        (TEST, "make test-unsandboxed", "make test-mac", "make test-mac, which is not"),
    ],
    static_checks_are_written_once: [
        ("Makefile", "test-all: static", "test-all: $(READY)", "test-all does not run the static"),
        ("Makefile", "\t$(BIN)/deptry .\n", "", "static differs in ['deptry .']"),
    ],
    hooks_run_the_static_checks: [
        (HOOKS, "bin/ruff format", "bin/black", "no hook runs ruff format"),
        (HOOKS, "bin/deptry .", "bin/true", "no hook runs deptry ."),
    ],
    container_has_a_python_of_ours: [
        (CONTAINER, "python:3.12", "python:3.9", "the development container is python:3.9"),
        (CONTAINER, "make .venv/ready", "true", "does not make the environment"),
    ],
}


@pytest.mark.parametrize("claim", BREAKS)
def test_it_agrees(claim) -> None:
    assert list(claim(ROOT)) == []


@pytest.mark.parametrize(
    ("claim", "change"), [(claim, change) for claim in BREAKS for change in BREAKS[claim]]
)
def test_a_broken_copy_is_noticed(tmp_path: Path, claim, change) -> None:
    file, old, new, said = change
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    assert said in "\n".join(claim(tmp_path))


# ---- dependencies and layers ----


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's code, in which a test may break a rule."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "graders", tmp_path / "graders", ignore=without)
    return tmp_path


def run(project: Path, tool: str, *arguments: str) -> tuple[int, str]:
    command = [Path(sys.executable).with_name(tool), *arguments]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, env={"PYTHONPATH": str(project)}
    )
    return done.returncode, done.stdout + done.stderr


def test_what_is_imported_is_declared(project: Path) -> None:
    assert run(project, "deptry", "--no-ansi", ".")[0] == 0
    (project / "graders/values/extra.py").write_text("import babel\nimport tqdm_of_nobody\n")
    status, said = run(project, "deptry", "--no-ansi", ".")
    assert status == 1
    assert "DEP003 'babel' imported but it is a transitive dependency" in said
    assert "DEP001 'tqdm_of_nobody' imported but missing" in said


def test_what_is_declared_is_imported(project: Path) -> None:
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('"rich>=', '"babel>=2",\n    "rich>='))
    status, said = run(project, "deptry", "--no-ansi", ".")
    assert (status, "DEP002 'babel' defined as a dependency" in said) == (1, True)


def test_a_folder_imports_only_folders_below_it(project: Path) -> None:
    assert run(project, "lint-imports", "--no-cache")[0] == 0
    (project / "graders/probes/extra.py").write_text(
        "def late():\n    from graders.checks import values\n"
    )
    status, said = run(project, "lint-imports", "--no-cache")
    assert status == 1
    assert "graders.probes is not allowed to import graders.checks" in said


def test_a_folder_that_is_in_no_layer_is_noticed(project: Path) -> None:
    (project / "graders/helpers").mkdir()
    (project / "graders/helpers/__init__.py").write_text("")
    status, said = run(project, "lint-imports", "--no-cache")
    assert (status, "helpers" in said) == (1, True)


ALL_NAMES = """
import sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing)
import graders
for name in graders.__all__:
    getattr(graders, name)
"""


def imported_without(modules: set[str]) -> str:
    """What Python says of importing every public name of graders where `modules` are missing."""
    command = [sys.executable, "-c", ALL_NAMES, *sorted(modules)]
    return subprocess.run(command, capture_output=True, text=True).stderr


def test_the_names_of_a_check_cell_need_the_base_alone() -> None:
    """On a hosted notebook nothing else of the course's packages need be installed."""
    brought = {canonicalize_name(name) for name in base()} | {"jax-course"}
    owners = importlib.metadata.packages_distributions()
    others = {m for m, owned in owners.items() if not brought & set(map(canonicalize_name, owned))}
    assert {"IPython", "msgpack", "nbgrader", "rich"} <= others
    assert imported_without(others) == ""
    assert "numpy" in imported_without({"numpy"})


def base() -> set[str]:
    """The packages that a plain `pip install jax-course` brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, found = [Requirement(text) for text in project["dependencies"]], set()
    while waiting:
        requirement = waiting.pop()
        if requirement.name not in found:
            found.add(requirement.name)
            needs = map(Requirement, importlib.metadata.requires(requirement.name) or [])
            waiting += [n for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found
