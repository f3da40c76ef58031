"""The rules of a lesson: each one has a lesson here that breaks it."""

import ast
from pathlib import Path

import pytest

from graders.author.lint import lint_lesson
from graders.lesson.names import bound_names, global_reads
from graders.lesson.source import read_lesson
from graders.tests.fixture_lesson import LESSON, write_lesson

CALL = "check_calls(double, by_hand, 0, 2)"
TEXT = "# **Prediction** What is `2 + 2`?"
DRAWS = f"# %%\nimport matplotlib.pyplot as plt\n{{}}\nplt.show()\n\n# %% [markdown]\n{TEXT}"


def findings(tmp_path: Path, lesson: str) -> list[str]:
    problems = lint_lesson(read_lesson(write_lesson(tmp_path, lesson=lesson)))
    return [f"{p.line}: {p.what} / {p.fix}" for p in problems]


def test_the_tiny_lesson_keeps_every_rule(tmp_path: Path) -> None:
    assert findings(tmp_path, LESSON) == []


BREACHES = {
    "raw assert": (CALL, f"{CALL}\nassert double(2) == 4", "a raw assert"),
    "loop": (CALL, f"for x in (0, 2):\n    {CALL}", "no `for` here"),
    "if": (CALL, f"if True:\n    {CALL}", "no `if` here"),
    "with": (CALL, f"import contextlib\nwith contextlib.nullcontext():\n    {CALL}", "no `with`"),
    "displayed value": (CALL, f"{CALL}\n2", "no `2` here"),
    "another call": (CALL, f"{CALL}\nprint(1)", "no `print(1)` here"),
    "answer is called": (CALL, "check_equal(double(2), 4)", "'double' is more than a direct"),
    "answer in an expression": (CALL, "check_equal([double], 4)", "'double' is more than a direct"),
    "answer under another name": (CALL, f"f = double\n{CALL}", "'double' is more than a direct"),
    "oracle reads the answer": ("return x + x", "return double(x)", "'double' is more than a dir"),
    "oracle hands it over": ("return x + x", "return result_of(double, x)", "'double' is more"),
    "lambda reads the answer": (
        CALL,
        "check_calls(double, lambda x: double(x), 0)",
        "'double' is more than a direct",
    ),
    "comprehension reads it": (CALL, f"{CALL}\nd = [double for _ in '1']", "'double' is more"),
    "handle is called": (
        CALL,
        f"{CALL}\nstep = result_of(double, 2)\nfour = step(2)",
        "'step' is more than a direct",
    ),
    "check in an expression": (CALL, f"{CALL}\nx = check_equal(double, 1)", "a check is called in"),
    "check in an oracle": (
        "return x + x",
        "check_equal(x, 1)\n    return x + x",
        "a check is called inside another",
    ),
    "answer overwritten": (CALL, f"{CALL}\ndouble = 1", "overwrites the student's 'double'"),
    "another exercise": ("check_equal(answer, 4)", "check_equal(answer, double)", "of another exe"),
    "unknown library": ("import operator", "import operator, torch", "imports 'torch', which no"),
    "nothing visible": (
        f"{CALL}\n### BEGIN HIDDEN TESTS\n",
        f"### BEGIN HIDDEN TESTS\n{CALL}\n",
        "shows the student no check",
    ),
    "answer not judged": ("check_equal(answer, 4)", "check_equal(4, 4)", "never looks at the ans"),
    "hidden name used openly": (
        "check_equal(answer, 4)",
        "check_equal(answer, four)\n### BEGIN HIDDEN TESTS\nfour = 4\n### END HIDDEN TESTS",
        "'four' is defined in hidden tests",
    ),
    "given cell reads an answer": (TEXT, f"# %%\ndouble(2)\n\n# %% [markdown]\n{TEXT}", "a given"),
    "given function reads it": (
        TEXT,
        f"# %%\ndef show():\n    return double(2)\n\n# %% [markdown]\n{TEXT}",
        "a given cell reads 'double'",
    ),
    "given cell overwrites an answer": (
        TEXT,
        f"# %%\ndouble = 1\n\n# %% [markdown]\n{TEXT}",
        "a given cell overwrites 'double'",
    ),
    "name of a check cell": (
        TEXT,
        f"# %%\nby_hand(2)\n\n# %% [markdown]\n{TEXT}",
        "'by_hand' comes from a check cell",
    ),
    "later exercise uses an earlier": (
        "answer = 4\n",
        "answer = double(2)\n",
        "uses 'double', the answer to another",
    ),
    "two exercises bind a name": ("# A whole number.", "double = 1", "binds 'double', as another"),
    "no heading": ("# ## 0.1 Doubling", "# 0.1 Doubling", "no heading"),
    "no effort": (" · difficulty 1 of 5", "", "does not say its minutes"),
    "effort out of range": ("difficulty 1 of 5", "difficulty 6 of 5", "does not say its minutes"),
    "no hints": ('# %% [markdown] hints="double"', "# %% [markdown]", "has no hints"),
    "one hint": (
        "# <details><summary>Hint 2: the API</summary>\n#\n# `operator.mul`\n# </details>\n",
        "",
        "are not two or three",
    ),
    "figure without a label": (TEXT, DRAWS.format("plt.plot([1])"), "a figure has no label"),
    "subplots without a label": (TEXT, DRAWS.format("plt.subplots(1, 2)"), "a figure has no lab"),
    "label of a colour bar": (TEXT, DRAWS.format("plt.colorbar().set_label('m')"), "has no label"),
    "figure with a size alone": (TEXT, DRAWS.format("plt.figure(figsize=(1, 1))"), "has no label"),
    "hint not closed": ("# `operator.mul`\n# </details>", "# `operator.mul`", "not two or three"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_named_at_its_line(name: str, tmp_path: Path) -> None:
    old, new, expected = BREACHES[name]
    assert old in LESSON
    found = findings(tmp_path, LESSON.replace(old, new, 1))
    assert any(expected in line for line in found), found


def test_a_heading_counts_for_one_exercise_alone(tmp_path: Path) -> None:
    """The second has none of its own; the text of the first is no text of it."""
    more = LESSON[
        LESSON.index('# %% exercise="double"') : LESSON.index("# %% [markdown]\n# **Pred")
    ]
    found = findings(tmp_path, LESSON + "\n" + more.replace("double", "triple"))
    assert [line for line in found if "exercise 'triple' has no heading" in line], found
    assert [line for line in found if "exercise 'triple' does not say its minutes" in line], found


ALLOWED = {
    "handles": (CALL, f"{CALL}\nstep = result_of(double, 2)\ncheck_equal(step, 4)"),
    "wrapped": (CALL, "check_calls(through(lambda double, x: double(x), double), by_hand, 0)"),
    "keyword": (CALL, "check_calls(f=double, g=by_hand)"),
    "oracle with a parameter of that name": ("def by_hand(x):", "def by_hand(x, double=2):"),
    "data": (CALL, f"import math\ncases = [0, math.pi]\n{CALL}"),
    "tagged given cell": (
        TEXT,
        f'# %% tags=["raises-exception"]\ndouble(2)\n\n# %% [markdown]\n{TEXT}',
    ),
    "figure with a label": (TEXT, DRAWS.format("plt.figure('A line')\nplt.plot([1])")),
    "figure that is labelled": (TEXT, DRAWS.format("plt.gcf().set_label('A line')")),
    "subplots with a label": (TEXT, DRAWS.format("plt.subplots(1, 2, num='Two lines')")),
    "shared import": ('    """Twice `x`."""\n', '    """Twice `x`."""\n    import operator\n'),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_rules_allow(name: str, tmp_path: Path) -> None:
    old, new = ALLOWED[name]
    assert old in LESSON
    assert findings(tmp_path, LESSON.replace(old, new, 1)) == []


@pytest.mark.parametrize(
    ("code", "bound", "read"),
    [
        ("a = b", {"a"}, {"b"}),
        ("def f(x=d, *, y: t = e) -> r:\n    z = x\n    return z + g", {"f"}, set("detrg")),
        ("f = lambda x, y=d: x + g", {"f"}, {"d", "g"}),
        ("[x for x in s if x > g]", set(), {"s", "g"}),
        ("[y := x for x in s]", {"y"}, {"s"}),
        ("import a.b, c as d\nfrom e import f as g", {"a", "d", "g"}, set()),
        ("class A(B):\n    def m(self):\n        return g", {"A"}, {"B", "g"}),
        ("for i, (j, k) in s:\n    pass", {"i", "j", "k"}, {"s"}),
        ("with o as a, p as b.c:\n    pass", {"a"}, {"o", "p", "b"}),
        ("try:\n    a = 1\nexcept E as e:\n    pass", {"a", "e"}, {"E"}),
        ("match s:\n    case {'k': v, **rest}:\n        pass\n    case [x, *y]:\n        pass",
         {"v", "rest", "x", "y"}, {"s"}),
        ("def f():\n    global g\n    g = g + 1", {"f"}, {"g"}),
        ("def f():\n    def h():\n        return x\n    x = 1\n    return h", {"f"}, set()),
        ("@d\ndef f(): ...", {"f"}, {"d"}),
        ("del a", {"a"}, set()),
    ],
)  # fmt: skip
def test_names_that_code_binds_and_reads(code: str, bound: set[str], read: set[str]) -> None:
    tree = ast.parse(code)
    assert bound_names(tree) == bound
    assert {r.name for r in global_reads(tree)} == read


SHOWN = '# %% tags=["demonstration"]\nprint(operator.add(1, 1))\n\n# %% [markdown]\n# ## 0.1'


def test_a_demonstration_binds_nothing_that_is_read(tmp_path: Path) -> None:
    marked = LESSON.replace("# %% [markdown]\n# ## 0.1", SHOWN, 1)
    assert findings(tmp_path, marked) == []
    (found,) = findings(tmp_path, LESSON.replace("# %%\n", '# %% tags=["demonstration"]\n', 1))
    assert "later cells read a name that this demonstration binds" in found
    exercise = '# %% exercise="double"'
    (found,) = findings(tmp_path, LESSON.replace(exercise, f'{exercise} tags=["demonstration"]', 1))
    assert "only a given cell can be a demonstration" in found
