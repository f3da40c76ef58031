"""The pages of docs/ say what the code does: layers, keys of markers, refusals, checks, links."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import graders
from graders.author.lint import lint_lesson
from graders.author.proofs import prove
from graders.author.reference import reference
from graders.card.messages import REQUIREMENTS
from graders.judging.lesson_run import run_lesson
from graders.lesson import markers
from graders.lesson.source import lesson_folders, read_lesson
from graders.seam.place import LocalPlace
from graders.tests.fixture_lesson import write_lesson

PACKAGE = Path(graders.__file__).parent
ROOT = PACKAGE.parent
DOCS = ROOT / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text()
FORMAT = (DOCS / "lesson-format.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = sorted([*DOCS.glob("*.md"), *ROOT.glob("*.md"), ROOT / "graders/tests/attacks/README.md"])


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level."""
    level = heading.split()[0]
    return re.split(rf"(?m)^{level} ", page.split(f"\n{heading}\n")[1])[0]


# ---- architecture ----


def layers() -> list[str]:
    """The rows that the table must have, from the import contract and the docstrings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    [contract] = project["tool"]["importlinter"]["contracts"]
    levels = list(enumerate(reversed(contract["layers"]), 1))[::-1]
    return [row(level, name) for level, names in levels for name in names.split(" | ")]


def row(level: int, name: str) -> str:
    folder = (PACKAGE / name).is_dir()
    path = PACKAGE / name / "__init__.py" if folder else PACKAGE / f"{name}.py"
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    sentence = " ".join(said.split("\n\n")[0].split())
    return f"| {level} | `{name}{'/' if folder else '.py'}` | {sentence} |"


def test_the_table_of_layers_is_the_import_contract() -> None:
    table = section(ARCHITECTURE, "## Layers")
    assert [line for line in table.splitlines() if re.match(r"\| \d", line)] == layers()


def test_the_glossary_is_sorted_and_has_no_term_twice() -> None:
    rows = re.findall(r"(?m)^\| ([^|]+) \|", section(ARCHITECTURE, "## Glossary"))
    terms = [term.strip("` ").casefold() for term in rows[2:]]
    assert terms == sorted(set(terms))


# ---- the lesson format ----


def documented_keys() -> dict[str, set[str]]:
    """For each key of a marker, the keys that its row says may stand beside it."""
    rows = re.findall(r"(?m)^\| `(\w+)=` \|.*\|([^|]*)\|$", section(FORMAT, "## Cells and markers"))
    return {key: set(re.findall(r"`(\w+)=`", beside)) for key, beside in rows}


def test_each_key_of_a_marker_is_documented() -> None:
    assert documented_keys().keys() == markers._VALUES.keys()


def test_what_may_stand_beside_a_key_is_documented() -> None:
    beside = {role: keys - {role} for role, keys in markers._ALLOWED.items()}
    assert {role: documented_keys()[role] for role in beside} == beside


def test_the_kinds_of_answers_are_documented() -> None:
    [said] = re.findall(r"(?m)^\| `kind=` \|(.*)\|$", FORMAT)
    assert set(re.findall(r"`(\w+)`", said)) == set(markers.ANSWER_KINDS)


READERS = (
    *(f"lesson/{name}" for name in ("percent", "markers", "structure", "regions", "python")),
    *("lesson/source", "lesson/hosted", "lesson/demonstrations"),
    *("author/lint", "author/check_cells", "author/census"),
)
WORDS = {"Finding": 1, "Problem": 2, "_refuse": 2}  # the argument that says what is wrong


def refusals(source: str) -> Iterator[str]:
    """What a module says of lessons that it refuses; `…` stands for what differs."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and (words := argument(call)) is not None:
                    yield from filter(None, map(text, values(words, function)))


def argument(call: ast.Call) -> ast.expr | None:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    position = WORDS.get(name)
    return call.args[position] if position is not None and len(call.args) > position else None


def values(words: ast.expr, function: ast.FunctionDef) -> list[ast.expr]:
    """The expression itself, or all that the function assigns to its name."""
    if not isinstance(words, ast.Name):
        return [words]
    assigned = (node for node in ast.walk(function) if isinstance(node, ast.Assign))
    return [node.value for node in assigned if ast.unparse(node.targets[0]) == words.id]


def text(words: ast.expr) -> str:
    if isinstance(words, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in words.values)
    return str(words.value) if isinstance(words, ast.Constant) else ""


def documented_refusals(page: str) -> set[str]:
    return set(re.findall(r"(?m)^\| `([^`]+)`", section(page, "## What is refused")))


def test_each_refusal_is_documented_in_its_words() -> None:
    said = {
        words.replace("`…`", "…")
        for name in READERS
        for words in refusals((PACKAGE / f"{name}.py").read_text())
    }
    assert len(said) > 40
    assert documented_refusals(FORMAT) == said


def test_another_word_in_a_refusal_is_noticed() -> None:
    source = (PACKAGE / "author/lint.py").read_text()
    assert "exercise … has no heading" in set(refusals(source))
    assert "exercise … has no title" in set(refusals(source.replace("no heading", "no title")))


EXAMPLE = """
# %% [markdown]
# # 2 · Example

# %%
import jax
import jax.numpy as jnp
import numpy as np
from graders import check_values
"""


def test_the_examples_are_a_lesson(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", FORMAT)
    cells = [block for block in blocks if block.startswith("# %%")]
    files = {key: [b for b in cells if f'{key}="slope"' in b] for key in ("wrong", "right")}
    lesson = [block for block in cells if block not in files["wrong"] + files["right"]]
    folder = write_lesson(
        tmp_path,
        "02_example",
        "\n".join([EXAMPLE, *lesson]),
        "\n".join(files["wrong"]),
        "\n".join(files["right"]),
    )
    read = read_lesson(folder)
    assert lint_lesson(read) == []
    assert (len(read.wrong), len(read.right)) == (2, 1)
    problems, _ = prove(run_lesson(read, LocalPlace()), lambda: None)
    assert problems == []


# ---- the checks ----


def test_the_page_of_checks_is_built_from_the_docstrings() -> None:
    assert (DOCS / "checks.md").read_text() == reference()


@pytest.mark.parametrize("name", graders.__all__)
def test_each_public_name_has_its_section(name: str) -> None:
    page = reference()
    assert page.count(f"\n### {name}\n") == 1
    said = section(page, f"### {name}")
    assert "```pycon\n>>> " in said
    if name in REQUIREMENTS:
        assert f"| [`{name}`](#{name}) | {REQUIREMENTS[name]} |" in page
        assert said.index("**Args**") < said.index("**Raises**") < said.index("- `CheckFailed`: ")
        assert "- `about`: " in said
        assert said.startswith(f"\n```python\n{name}(")
        assert "doctest" not in said


def test_the_page_changes_with_a_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = (graders.check_pure.__doc__ or "").replace("Two fresh traces", "Three fresh traces")
    monkeypatch.setattr(graders.check_pure, "__doc__", changed)
    assert "Three fresh traces" in reference()


# ---- contributing ----


# Probes are named apart from the checks that use them, and not every check has one of its own.
BESIDE = {
    "graders/probes/__init__.py": ("PROBES", "REPLIES"),
    "graders/grading/confirmation.py": ("STRUCTURAL",),
    "graders/card/messages.py": ("REQUIREMENTS",),
    "graders/tests/test_bad_input.py": ("CHECKS",),
    "graders/tests/test_seam.py": ("CHECKS_OF",),
    "graders/__init__.py": ("_MODULES", "__all__"),
}


def test_the_steps_for_a_check_name_each_file_that_lists_checks() -> None:
    """A file that names most of the checks must name the next one too."""
    steps = section(CONTRIBUTING, "## A check")
    others = set(PACKAGE.rglob("*.py")) - {Path(__file__)}
    texts = {path.relative_to(ROOT): path.read_text() for path in others}
    lists = [p for p, said in texts.items() if sum(c in said for c in REQUIREMENTS) > 9]
    assert len(lists) >= 3
    for path in lists:
        assert f"`{path}`" in steps, path


@pytest.mark.parametrize("path", BESIDE)
def test_the_steps_for_a_check_name_lists_that_are_there(path: str) -> None:
    steps = section(CONTRIBUTING, "## A check")
    [row] = [line for line in steps.splitlines() if line.startswith(f"| `{path}`")]
    for name in BESIDE[path]:
        assert f"`{name}`" in row
        assert re.search(rf"(?m)^{name}\b", (ROOT / path).read_text()), name


# ---- links and paths ----


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text()), target


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", page)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_in_the_pages_are_there(page: Path) -> None:
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    for path in re.findall(r"`((?:graders|docs|solutions|benchmarks)/[\w./]*)`", text):
        if "NN_name" not in path:
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_lesson_has_a_row_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for folder in lesson_folders(ROOT):
        assert f"| {folder.name} |" in readme
