"""Submissions are examined: what runs, what each mistake costs, and what is kept of it."""

from __future__ import annotations

import copy
import functools
import importlib.util
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell

from graders.author.build import build_sources
from graders.card import draw
from graders.card.outcome import Outcome
from graders.grading import engine, examiner, plan, results
from graders.grading.engine import Scheduler, Settings, Task
from graders.grading.examiner import Examination, Examiner, Said
from graders.grading.journal import Entry, Journal, check_digests, code_digest, digest
from graders.grading.submissions import Submission
from graders.grading.worker import Report
from graders.lesson.cells import Lesson
from graders.lesson.source import read_lesson
from graders.sample.draft import Draft
from graders.sandbox.limits import Limits
from graders.sandbox.process import Sandbox, Unavailable
from graders.seam import wire
from graders.seam.remote import StudentProcess
from graders.seam.shell import Names, names_in, python
from graders.tests.fixture_lesson import JUDGED, make_course
from graders.tests.machines import refuse_namespaces

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSON = "00_tiny"
FIRST = "# %% [markdown]\n# ## 0.1"
SHOWN = """# %% tags=["demonstration"]
shown = 3
print(shown)

"""
RIGHT, PREDICTED = "double_check", "answer_check"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_course(tmp_path_factory.mktemp("course"), JUDGED.replace(FIRST, SHOWN + FIRST))
    build_sources(root)
    return root


@pytest.fixture(scope="module")
def lesson(course: Path) -> Lesson:
    return read_lesson(course / "solutions" / LESSON)


@pytest.fixture
def draft(course: Path, lesson: Lesson) -> Draft:
    """The notebook as it is handed out."""
    return Draft.of(course, lesson)


# ---- what has to run ----


def sources(draft: Draft) -> list[str]:
    cells = plan.restored_cells(draft.lesson, draft.notebook.cells)
    every = plan.steps(draft.lesson, cells)
    names = {step.index: names_in(step.source) for step in every}
    return [python(step.source) for step in plan.needed(draft.lesson, every, names)]


def test_a_demonstration_does_not_run(draft: Draft) -> None:
    assert not any("shown" in source for source in sources(draft))
    assert any("import operator" in source for source in sources(draft))


def test_planning_leaves_the_submission_as_it_was(draft: Draft) -> None:
    before = copy.deepcopy(draft.notebook)
    sources(draft)
    assert draft.notebook == before


@pytest.mark.parametrize("reads", ["shown", "globals()['shown']", "eval('sho' + 'wn')"])
def test_a_demonstration_runs_where_an_answer_may_read_it(draft: Draft, reads: str) -> None:
    draft.put("answer", f"answer = {reads} + 1", earns=True)
    assert any("shown = 3" in source for source in sources(draft))


def test_a_demonstration_that_the_student_has_changed_runs(draft: Draft) -> None:
    cell = next(cell for cell in draft.notebook.cells if "shown = 3" in cell.source)
    cell.source = "shown = 4"
    assert "shown = 4\n" in sources(draft)


def test_a_cell_of_the_students_own_runs_with_its_magics(draft: Draft) -> None:
    draft.notebook.cells.append(new_code_cell("%timeit 1 + 1"))
    assert "get_ipython().run_line_magic('timeit', '1 + 1')\n" in sources(draft)


# ---- what it earns ----


@pytest.fixture(scope="module")
def examine(
    lesson: Lesson, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Examination]]:
    limits = Limits(memory=3 << 29)  # so that all of it is used up in time on a slow machine
    with Sandbox(tmp_path_factory.mktemp("compiled"), limits=limits, seconds=15) as sandbox:
        yield functools.partial(_examined, Examiner(lesson), sandbox)


def _examined(
    examiner: Examiner,
    sandbox: Sandbox,
    draft: Draft,
    checks: set[str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Examination:
    return examiner.examine(draft.notebook.cells, sandbox.processes, checks, files)


Examine = Callable[..., Examination]


def passed(found: Examination) -> set[str]:
    return {name for name, outcome in found.outcomes.items() if outcome.passed}


def test_right_answers_pass(draft: Draft, examine: Examine) -> None:
    draft.solve()
    found = examine(draft)
    assert passed(found) == {RIGHT, PREDICTED}
    assert "All requirements are met" in draw.html(found.outcomes[RIGHT])


def test_an_untouched_notebook_is_not_answered(draft: Draft, examine: Examine) -> None:
    found = examine(draft)
    assert passed(found) == set()
    assert found.outcomes[RIGHT].words == "double: not answered yet"


def test_a_wrong_answer_is_told_why(draft: Draft, examine: Examine) -> None:
    draft.solve()
    draft.put("double", "def double(x):\n    return 3 * x", earns=False)
    found = examine(draft)
    assert passed(found) == {PREDICTED}
    assert "right on some inputs (1 of 2)" in found.outcomes[RIGHT].words


def test_a_lookup_table_fails_the_hidden_test_alone(draft: Draft, examine: Examine) -> None:
    draft.solve()
    draft.put("double", "def double(x):\n    return {0.0: 0.0, 2.0: 4.0}[x]", earns=False)
    outcome = examine(draft).outcomes[RIGHT]
    assert outcome.failed
    assert outcome.failed.hidden
    assert "12345" in str(outcome.finding)
    assert "12345" not in outcome.words + draw.html(outcome) + draw.text(outcome)
    assert "12345" not in str(outcome.for_the_student())


FATAL = {
    "a cell that ends the process": ("import os\nos._exit(0)", "ended the process"),
    "an answer that does": ("def double(x):\n    import os\n    os._exit(0)", "ended the process"),
    "a cell without end": ("while True: pass", "ran past its time limit"),
    "an answer without end": ("def double(x):\n    while True: pass", "ran past its time limit"),
    "a cell that keeps all memory": (
        "held = []\nwhile True: held.append(bytearray(b'x') * (64 << 20))",
        "used up the memory that it may have",
    ),
}


@pytest.mark.parametrize(("source", "words"), FATAL.values(), ids=FATAL)
def test_what_is_fatal_costs_its_own_points(
    draft: Draft, examine: Examine, source: str, words: str
) -> None:
    draft.solve()
    cell = draft.cell("double")
    cell.source = source if "def " in source else f"{source}\ndef double(x):\n    return 2 * x"
    found = examine(draft)
    assert passed(found) == {PREDICTED}
    assert words in found.outcomes[RIGHT].words


def test_a_hidden_input_does_not_come_out_through_a_later_cell(
    draft: Draft, examine: Examine
) -> None:
    draft.solve()
    draft.put(
        "double", "seen = []\ndef double(x):\n    seen.append(x)\n    return 2 * x", earns=True
    )
    draft.put("answer", "answer = 4\nprint('seen:', seen)", earns=True)
    draft.notebook.cells.append(new_code_cell("print(seen)"))
    found = examine(draft)
    assert passed(found) == {RIGHT, PREDICTED}
    printed = "".join(said.printed for said in found.said.values())
    assert "seen: [" in printed
    assert "12345" not in printed


def test_hidden_tests_see_the_names_as_they_were_at_the_check(
    draft: Draft, examine: Examine
) -> None:
    draft.solve()
    draft.put("double", "factor = 2\ndef double(x):\n    return factor * x", earns=True)
    draft.notebook.cells.append(new_code_cell("factor = 3\ndouble = None"))
    assert passed(examine(draft)) == {RIGHT, PREDICTED}


def test_checks_are_the_lessons_own(draft: Draft, examine: Examine) -> None:
    draft.put("double", "def double(x):\n    return 3 * x", earns=False)
    draft.cell(RIGHT).source = "print('all checks passed')"
    draft.notebook.cells.remove(draft.cell(PREDICTED))
    draft.put("answer", "answer = 4", earns=True)
    assert passed(examine(draft)) == {PREDICTED}


def test_one_check_alone_is_examined(draft: Draft, examine: Examine) -> None:
    draft.solve()
    assert examine(draft, {RIGHT}).outcomes.keys() == {RIGHT}
    found = examine(draft, {PREDICTED})
    assert passed(found) == found.outcomes.keys() == {PREDICTED}


KINDS = {
    "": "def double(x):\n    return 2 * x",
    "wrong": "def double(x):\n    return 3 * x",
    "not answered": "def double(x):\n    raise NotImplementedError()",
    "student error": "def double(x):\n    raise ValueError(x)",
    "timeout": "def double(x):\n    while True: pass",
    "out of memory": "double = []\nwhile True: double.append(bytearray(b'x') * (64 << 20))",
}


@pytest.mark.parametrize(("kind", "source"), KINDS.items(), ids=KINDS)
def test_why_an_answer_fails_is_told_apart(
    draft: Draft, examine: Examine, kind: str, source: str
) -> None:
    draft.put("double", source, earns=not kind)
    assert results.kind(examine(draft).outcomes[RIGHT]) == kind


NAMED_LIKE_A_LIMIT = ["TimeLimit", "MemoryLimit", "Unanswered", "Stale", "ProcessEnded", "Garbled"]
FORGED = """
from graders.seam import observation, protocol
observation.error_facts = lambda *_: protocol.Error("{0}", ("{0}",), "")
def double(x):
    raise ValueError(x)
"""


@pytest.mark.parametrize("name", NAMED_LIKE_A_LIMIT)
@pytest.mark.parametrize(
    "source",
    ["class {0}(Exception): pass\ndef double(x):\n    raise {0}()", FORGED],
    ids=["raised", "forged"],
)
def test_an_exception_named_like_a_limit_is_the_students(
    draft: Draft, examine: Examine, name: str, source: str
) -> None:
    draft.put("double", source.format(name), earns=False)
    outcome = examine(draft, {RIGHT}).outcomes[RIGHT]
    assert results.kind(outcome) == "student error"
    assert "time limit" not in outcome.words


# ---- files of the student's own ----

IMPORTS = """
from helpers import times
import own.numbers
def double(x):
    from late import nothing
    return times(own.numbers.TWO, x) + nothing
"""
FILES = {
    "helpers.py": b"def times(a, b):\n    return a * b\n",
    "own/numbers.py": b"with open('own/two.txt') as file:\n    TWO = int(file.read())\n",
    "own/two.txt": b"2\n",
    "late.py": b"nothing = 0\n",
}


def test_an_answer_imports_what_was_handed_in_with_it(draft: Draft, examine: Examine) -> None:
    draft.solve()
    draft.put("double", IMPORTS, earns=True)
    assert passed(examine(draft, None, FILES)) == {RIGHT, PREDICTED}
    assert passed(examine(draft)) == {PREDICTED}


def test_a_process_that_ends_costs_the_next_one_no_files(draft: Draft, examine: Examine) -> None:
    draft.solve()
    draft.put("double", IMPORTS, earns=True)
    draft.put("answer", "import helpers, os\nos._exit(0)\nanswer = 4", earns=False)
    assert passed(examine(draft, None, FILES)) == {RIGHT}


def test_an_error_in_a_file_is_shown_by_its_line(draft: Draft, examine: Examine) -> None:
    draft.put("double", IMPORTS, earns=False)
    files = FILES | {"helpers.py": b"def times(a, b):\n    return a * undefined\n"}
    outcome = examine(draft, {RIGHT}, files).outcomes[RIGHT]
    assert outcome.finding is not None
    assert outcome.finding.cause.line == "return a * undefined"


TRAP = b"raise SystemExit('the file of a student')\n"
INSTALLED = ("jax", "jaxlib", "numpy", "IPython", "graders", "cloudpickle", "msgpack", "matplotlib")
HERE = [name for name in sys.stdlib_module_names if importlib.util.find_spec(name)]
NAMED_LIKE_ONES = {f"{name}.py": TRAP for name in HERE} | {
    f"{name}/__init__.py": TRAP for name in INSTALLED
}


def test_no_file_is_taken_for_an_installed_module(draft: Draft, examine: Examine) -> None:
    draft.solve()
    uses = "%matplotlib inline\n%time 1 + 1\nimport random, numpy, wave, matplotlib.pyplot\n"
    draft.notebook.cells.insert(0, new_code_cell(uses))
    draft.put("double", uses + "def double(x):\n    return 2 * x", earns=True)
    found = examine(draft, None, NAMED_LIKE_ONES)
    assert (passed(found), found.said["double"].error) == ({RIGHT, PREDICTED}, "")


@pytest.mark.parametrize("magic", ["%%writefile", "%%file"])
def test_a_cell_may_write_a_module(draft: Draft, examine: Examine, magic: str) -> None:
    draft.solve()
    draft.put("double", IMPORTS, earns=True)
    files = {name: content for name, content in FILES.items() if name != "helpers.py"}
    again = f"{magic} helpers.py\ndef times(a, b):\n    return a / b\n"
    missing = "try:\n    import helpers\nexcept ImportError:\n    pass"
    for source in (again, again.replace("/", "*"), missing):
        draft.notebook.cells.insert(0, new_code_cell(source))
    assert passed(examine(draft, None, files)) == {PREDICTED}
    del draft.notebook.cells[2]
    assert passed(examine(draft, None, files)) == {RIGHT, PREDICTED}


# ---- bounded work on our side ----


def test_what_students_write_is_read_where_it_runs(
    draft: Draft, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(source: str) -> Names:
        read.append(source)
        return names_in(source)

    monkeypatch.setattr(examiner, "names_in", noted)
    draft.solve()
    draft.notebook.cells.append(new_code_cell("own = shown"))
    found = examine(draft)
    assert passed(found) == {RIGHT, PREDICTED}
    assert {"import operator\nfrom graders import check_answer, check_values", "shown = 3"} <= {
        source.strip().removesuffix("\nprint(shown)") for source in read
    }
    assert not {draft.cell("double").source, draft.cell("answer").source, "own = shown"} & set(read)


HARD_TO_READ = {
    "more magics than IPython takes": "%time 1\n" * 600,
    "brackets in brackets": "(" * 100_000,
    "what ends who reads it": "x = " + "-" * 2_000_000 + "1",
    "half of a character": "x = '\ud800'",
}


@pytest.mark.parametrize("source", HARD_TO_READ.values(), ids=HARD_TO_READ)
def test_a_cell_that_is_hard_to_read_costs_its_own_points(
    draft: Draft, examine: Examine, source: str
) -> None:
    draft.solve()
    draft.cell("double").source = f"{source}\ndef double(x):\n    return 3 * x"
    assert passed(examine(draft)) == {PREDICTED}


def test_after_its_deadline_a_submission_has_what_was_judged(
    draft: Draft, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examiner, "MOST_SECONDS", 0.0)
    draft.solve()
    found = examine(draft)
    assert passed(found) == set()
    assert {results.kind(one) for one in found.outcomes.values()} == {"timeout"}


class Slow(StudentProcess):
    """A process in which every cell takes 110 seconds of a clock that the test has made."""

    now, ran, made = 0.0, 0, 0

    def __init__(self) -> None:
        super().__init__()
        Slow.made += 1

    def exchange(self, body: bytes) -> bytes:
        command, *_ = pickle.loads(body)
        if command == "run":
            Slow.ran += 1
            Slow.now = min(Slow.now + 110, self.deadline)
        if Slow.now >= self.deadline:
            raise TimeoutError
        replies = {"names": [[], []], "has": False, "snapshot": 0, "printed": ""}
        return wire.pack(replies.get(command))

    def kill(self) -> None:
        pass


def test_many_slow_cells_hold_no_worker_past_the_deadline(
    draft: Draft, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examiner, "time", SimpleNamespace(monotonic=lambda: Slow.now))
    draft.solve()
    for _ in range(16):
        draft.notebook.cells.insert(1, new_code_cell("import time\ntime.sleep(110)"))
    processes: Any = SimpleNamespace(new_process=Slow)
    found = Examiner(lesson).examine(draft.notebook.cells, processes)
    assert (Slow.now, Slow.ran, Slow.made) == (examiner.MOST_SECONDS, 11, 1)
    assert {results.kind(one) for one in found.outcomes.values()} == {"timeout"}
    assert found.outcomes.keys() == {RIGHT, PREDICTED}


def test_what_is_printed_is_kept_in_part(draft: Draft, examine: Examine) -> None:
    draft.solve()
    draft.put("answer", "answer = 4\nprint('\\x1b[2J' + '\\0' * 100_000)", earns=True)
    own = new_code_cell("print('x' * 100_000)")
    own.metadata["nbgrader"] = {
        "grade_id": "own", "solution": True, "grade": False, "locked": False, "schema_version": 3,
    }  # fmt: skip
    draft.notebook.cells.insert(0, own)
    said = examine(draft).said
    assert said.keys() == {"double", "answer"}
    assert len(said["answer"].printed) == 4_000
    assert said["answer"].printed.startswith("\\x1b[2J\\x00")
    assert said["answer"].printed.endswith("\n... cut here")


# ---- many of them ----


def test_what_had_no_processor_is_examined_again_alone(
    course: Path, lesson: Lesson, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[object] = []
    seen: list[tuple[str, int]] = []

    class Worker:
        """Says of each submission but one, at first, that it had to wait for a processor."""

        def __init__(self, lesson: Lesson, *_: object) -> None:
            self.lesson, self.task = lesson.name, None
            self.pipe, self.theirs = multiprocessing.Pipe()
            self.theirs.send("ready")
            alive.append(self)

        def give(self, task: Task) -> None:
            self.task, student = task, task.submission.student
            starved = student != "fed"
            self.theirs.send(Report(Examination({student: results.Outcome(student, ())}), starved))
            seen.append((student, len(alive)))

        def stop(self) -> None:
            self.pipe.close()
            alive.remove(self)

    monkeypatch.setattr(engine, "_Worker", Worker)
    students = ["fed", *(f"hungry-{number}" for number in range(7))]
    tasks = [handed_in(course, draft, student, LESSON) for student in students]
    settings = Settings(course, workers=2, sandboxed=False)
    with Scheduler(settings, {LESSON: lesson}, tasks) as scheduler:
        found = [(submission.student, one) for submission, one in scheduler.results()]
    assert found[0][0] == "fed"
    assert sorted(student for student, _ in found) == sorted(students)
    assert all(isinstance(one, Examination) and set(one.outcomes) == {s} for s, one in found)
    again = [student for student, _ in seen[len(students) :]]
    assert sorted(again) == sorted(students[1:])
    assert {count for _, count in seen[: len(students)]} == {2}
    assert {count for _, count in seen[len(students) :]} == {1}


def test_a_worker_that_dies_costs_nobody_anything(
    course: Path, lesson: Lesson, draft: Draft
) -> None:
    draft.solve()
    tasks = [handed_in(course, draft, student, LESSON) for student in ("ada", "ben", "cy")]
    with Scheduler(Settings(course, workers=1), {LESSON: lesson}, tasks) as scheduler:
        results = scheduler.results()
        first = next(results)
        for worker in multiprocessing.active_children():
            worker.kill()
        found = dict([first, *results])
    assert found.keys() == {task.submission for task in tasks}
    assert all(isinstance(one, Examination) and len(passed(one)) == 2 for one in found.values())


def test_later_lessons_come_first(course: Path, lesson: Lesson, draft: Draft) -> None:
    """Their answers take longer: what is left to one worker alone in the end is short."""
    lessons = {name: replace(lesson, name=name) for name in ("00_tiny", "01_tiny", "02_tiny")}
    tasks = [handed_in(course, draft, "dora", name) for name in lessons]
    one_at_a_time = Settings(course, workers=1, sandboxed=False)
    with Scheduler(one_at_a_time, lessons, tasks) as scheduler:
        found = [submission.lesson for submission, _ in scheduler.results()]
    assert found == ["02_tiny", "01_tiny", "00_tiny"]


def test_where_no_room_can_be_made_nothing_is_examined_and_nobody_stays(
    course: Path, lesson: Lesson, draft: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_namespaces(tmp_path, monkeypatch)
    tasks = [handed_in(course, draft, "eve", LESSON)]
    with Scheduler(Settings(course, workers=1), {LESSON: lesson}, tasks) as scheduler:
        assert multiprocessing.active_children()
        with pytest.raises(Unavailable, match="No permissions to create a new namespace"):
            next(scheduler.results())
    assert not multiprocessing.active_children()


def handed_in(course: Path, draft: Draft, student: str, lesson: str) -> Task:
    folder = course / "build/submitted" / student / lesson
    folder.mkdir(parents=True)
    (folder / f"{lesson}.ipynb").write_bytes(draft.file_content())
    return Task(Submission(student, lesson, folder))


# ---- what is kept ----

texts = st.text(max_size=20)
outcomes = st.from_type(Outcome)
found_things = st.builds(
    Examination,
    st.dictionaries(texts, outcomes, max_size=3),
    st.dictionaries(texts, st.builds(Said, texts, texts), max_size=3),
)


entries = st.builds(Entry, texts, st.dictionaries(texts, texts, max_size=3), found_things)


@settings(max_examples=30)
@given(first=entries, second=entries)
def test_what_was_found_is_read_again(
    first: Entry, second: Entry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    Journal(path).add(("ada", LESSON), first)
    Journal(path).add(("ben", LESSON), second)
    Journal(path).note_recorded(("ben", LESSON))
    read = Journal(path)
    assert read.entries == {("ada", LESSON): first, ("ben", LESSON): second}
    assert read.is_recorded(("ben", LESSON))
    assert not read.is_recorded(("ada", LESSON))
    assert not read.is_recorded(("cy", LESSON))


def test_a_later_entry_counts_and_waits_to_be_recorded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add(("ada", LESSON), Entry("one", {}, Examination()))
    journal.note_recorded(("ada", LESSON))
    journal.add(("ada", LESSON), Entry("two", {}, Examination()))
    for now in (journal, Journal(journal.path)):
        assert not now.is_recorded(("ada", LESSON))
        assert now.known(("ada", LESSON), "one") is None
        assert now.known(("ada", LESSON), "two")


@given(cut=st.integers(1, 60))
def test_a_line_cut_short_loses_itself_alone(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    nothing = Entry("n", {}, Examination())
    for student in ("ada", "ben"):
        Journal(path).add((student, LESSON), nothing)
    path.write_bytes(path.read_bytes()[:-cut])
    Journal(path).add(("cy", LESSON), nothing)
    students = {student for student, _ in Journal(path).entries}
    assert students >= {"ada", "cy"}
    assert students <= {"ada", "ben", "cy"}


@pytest.mark.parametrize(
    ("old", "new", "touched"),
    [
        ("check_answer(answer, 4)", "check_answer(answer, 5)", {PREDICTED}),
        ("[(0.0,), (2.0,)]", "[(1.0,)]", {RIGHT}),
        ("import operator", "import operator as op", {RIGHT, PREDICTED}),
        ("answer = 4", "answer = 2 + 2", {PREDICTED}),
        ("shown = 3", "shown = 4", set()),
        ("Twice `x`.", "Two times `x`.", {RIGHT, PREDICTED}),
        ("**Prediction**", "**Question**", set()),
    ],
)
def test_which_checks_a_change_of_the_lesson_touches(
    old: str, new: str, touched: set[str], lesson: Lesson, tmp_path: Path
) -> None:
    root = make_course(tmp_path, JUDGED.replace(FIRST, SHOWN + FIRST).replace(old, new))
    changed = read_lesson(root / "solutions" / LESSON)
    before = Entry("n", check_digests(b"code", lesson), Examination())
    assert before.touched(check_digests(b"code", changed)) == touched
    assert before.touched(check_digests(b"other code", lesson)) == {RIGHT, PREDICTED}


@pytest.mark.parametrize("above", ["course", "tests"])
def test_a_changed_file_of_the_package_touches_every_check(above: str, tmp_path: Path) -> None:
    package = tmp_path / above / "graders"
    (package / "checks").mkdir(parents=True)
    (package / "tests").mkdir()
    (package / "checks/values.py").write_text("RTOL = 1e-4")
    before = code_digest(package)
    (package / "tests/test_values.py").write_text("assert True")
    assert code_digest(package) == before
    (package / "checks/values.py").write_text("RTOL = 1e-3")
    assert code_digest(package) != before


def test_another_version_of_a_package_touches_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(version: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="jax", version=version)]

    found = set()
    for version in ("0.10.2", "0.12.0", "0.10.2"):
        monkeypatch.setattr(metadata, "distributions", lambda version=version: installed(version))
        found.add(code_digest(tmp_path))
    assert len(found) == 2


def test_other_parts_make_another_digest() -> None:
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"ab", b"c") == digest(b"ab", b"c")


def test_workers_find_the_package_where_a_folder_of_its_name_lies(tmp_path: Path) -> None:
    """As in a course that holds `graders/notebook/catalogue.json` alone."""
    script = tmp_path / "scripts" / "script.py"
    (tmp_path / "graders" / "notebook").mkdir(parents=True)
    script.parent.mkdir()
    script.write_text(
        "import importlib, sys\n"
        "from graders.grading import forkserver\n"
        "if __name__ == '__main__':\n"
        "    forkserver.start()\n"
        "    name = 'graders.notebook.progress'\n"
        "    child = forkserver.CONTEXT.Process(target=importlib.import_module, args=(name,))\n"
        "    child.start(); child.join(); sys.exit(child.exitcode)\n"
    )
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
