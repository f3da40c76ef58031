"""What students do to a notebook, each habit with the marks it is due."""

import copy

from graders.sample.draft import Draft

_NOISE = """\
import sys, warnings
def make_noise(info):
    print("noise on stderr", file=sys.stderr)
    warnings.warn("noise as a warning")
get_ipython().events.register("pre_run_cell", make_noise)
"""


def perfect(draft: Draft) -> None:
    """Every answer as the author gives it."""
    draft.solve()


def right(draft: Draft) -> None:
    """Every answer right in another way, where right.py knows one."""
    draft.solve()
    for entry in draft.lesson.right:
        draft.put_entry(entry)


def right_at_first(draft: Draft) -> None:
    """The first of the other right ways."""
    draft.solve()
    for entry in reversed(draft.lesson.right):
        draft.put_entry(entry)


def half_wrong(draft: Draft) -> None:
    """Every second answer wrong."""
    draft.solve()
    for exercise in draft.can_be_wrong()[::2]:
        draft.put_entry(draft.wrong_for(exercise)[0])


def other_half_wrong(draft: Draft) -> None:
    """The other answers wrong, by other mistakes."""
    draft.solve()
    for exercise in draft.can_be_wrong()[1::2]:
        draft.put_entry(draft.wrong_for(exercise)[-1])


def all_wrong(draft: Draft) -> None:
    """A wrong answer to everything that wrong.py has one for, and none to the rest."""
    for exercise in draft.can_be_wrong():
        draft.put_entry(draft.wrong_for(exercise)[-1])


def untouched(draft: Draft) -> None:
    """The notebook as it was handed out."""


def half_answered(draft: Draft) -> None:
    """The first half right, the rest untouched."""
    handed_out = copy.deepcopy(draft.notebook)
    draft.solve()
    names = list(draft.lesson.exercises)
    for name in names[len(names) // 2 :]:
        original = next(c for c in handed_out.cells if c.id == draft.cell(name).id)
        draft.put(name, original.source, earns=False)


def noisy(draft: Draft) -> None:
    """All right, with text on stderr and a warning from every cell."""
    draft.solve()
    given = next(c for c in draft.notebook.cells if c.cell_type == "code")
    given.source = _NOISE + given.source


def syntax_error(draft: Draft) -> None:
    """All right but for one cell, which is no Python."""
    draft.solve()
    draft.put(draft.can_be_wrong()[0], "def answer(:\n    return 1", earns=False)


def without_checks(draft: Draft) -> None:
    """All right, and the last check cell of every second exercise deleted."""
    draft.solve()
    gone = [draft.checks_of(name)[-1] for name in list(draft.lesson.exercises)[::2]]
    for check in gone:
        draft.notebook.cells.remove(draft.cell(check))


def without_an_exercise(draft: Draft) -> None:
    """All right, and one exercise deleted with its checks."""
    draft.solve()
    name = draft.can_be_wrong()[-1]
    checks = draft.checks_of(name)
    for grade_id in (name, *checks):
        draft.notebook.cells.remove(draft.cell(grade_id))
    draft.scores.update(dict.fromkeys(checks, 0.0))


def copied_cells(draft: Draft) -> None:
    """All right, with an exercise and its check pasted a second time, identifiers and all."""
    draft.solve()
    name = draft.can_be_wrong()[0]
    for grade_id in (name, draft.checks_of(name)[0]):
        cell = draft.cell(grade_id)
        draft.notebook.cells.insert(draft.notebook.cells.index(cell), copy.deepcopy(cell))


def edited_check(draft: Draft) -> None:
    """A wrong answer, and a check that the student has emptied and made worth more."""
    draft.solve()
    name = draft.can_be_wrong()[0]
    draft.put_entry(draft.wrong_for(name)[0])
    check = draft.cell(draft.checks_of(name)[0])
    check.source = "print('all checks passed')"
    check.metadata.nbgrader.update(points=100, locked=False)


def not_a_notebook(draft: Draft) -> None:
    """A picture with the notebook's name."""
    draft.content, draft.reason = b"\x89PNG\r\n\x1a\n\xff\xd8", "it is no text"


def another_json(draft: Draft) -> None:
    """JSON, but no notebook."""
    draft.content, draft.reason = b'{"marks": "all of them"}', "it is JSON without cells"


def cut_short(draft: Draft) -> None:
    """A notebook whose upload stopped half-way."""
    draft.solve()
    content = draft.file_content()
    draft.content, draft.reason = content[: len(content) // 2], "it is cut short"


def renamed(draft: Draft) -> None:
    """A perfect notebook under the name that a browser gave it."""
    draft.solve()
    draft.file = f"{draft.lesson.name} (1).ipynb"
    draft.reason = f"no {draft.lesson.name}.ipynb, only {draft.file}"


def empty_folder(draft: Draft) -> None:
    """Nothing at all."""
    draft.content, draft.reason = b"", "the folder is empty"
