"""Attacks that want to change what is not theirs; what they write holds their TOKEN."""

from __future__ import annotations

from graders.tests.attacks.corpus import RIGHT, Attack, code

PLANT = """
import glob, os
def plant(*patterns):
    for pattern in patterns:
        for path in glob.glob(pattern, recursive=True) or [pattern]:
            try:
                with open(path, "a") as file:
                    file.write("TOKEN")
            except OSError as error:
                print(type(error).__name__)
"""


def plants(*paths: str) -> str:
    return code(f"{PLANT}\nplant({', '.join(map(repr, paths))})", RIGHT)


IN_CODE = {
    "own mark": (
        "gives itself full marks in the gradebook",
        code("""
import sqlite3
try:
    with sqlite3.connect("ROOT/build/gradebook.db") as book:
        book.execute("update grade set manual_score = 2, needs_manual_grade = 0")
        book.execute("update grade_cells set max_score = 50")
except sqlite3.Error as error:
    print(error)
"""),
        False,
    ),
    "others' submissions": (
        "writes into what others have handed in",
        plants("ROOT/build/submitted/honest/**/*.ipynb"),
        True,
    ),
    "the lesson": (
        "writes into the lesson and the configuration of the grading",
        plants("ROOT/solutions/**/*.py", "ROOT/nbgrader_config.py", "ROOT/build/source/planted"),
        True,
    ),
    "its own report": (
        "writes the journal and the marks of the class",
        plants("ROOT/build/reports/journal.jsonl", "ROOT/build/reports/marks.csv"),
        True,
    ),
    "the compilation cache": (
        "puts a file into the cache of compiled programs that later submissions use",
        code(
            PLANT + "import jax\n"
            "for folder in (jax.config.jax_compilation_cache_dir, '/compiled', "
            "'ROOT/build/compiled'):\n"
            "    if folder: plant(os.path.join(folder, 'planted'))",
            RIGHT,
        ),
        True,
    ),
    "the graders": (
        "overwrites what its process can find of Python's and its own packages' start-up",
        plants("ROOT/sitecustomize.py", "ROOT/graders/__init__.py"),
        True,
    ),
    "a letter to a friend": (
        "leaves a file for another submission",
        plants("LETTER_BOX", "/dev/shm/letter-TOKEN", "/tmp/letter-TOKEN"),
        True,
    ),
    "a link": (
        "leaves a link where the grading writes",
        code(
            """
import os
for name in ("honest", "perfect"):
    try:
        os.makedirs(f"ROOT/build/autograded/{name}-TOKEN", exist_ok=True)
        os.symlink("ROOT/solutions", f"ROOT/build/autograded/{name}-TOKEN/00_tiny")
    except OSError as error:
        print(error)
""",
            RIGHT,
        ),
        True,
    ),
}

ATTACKS = [
    Attack("writing", name, tries, source, earns=earns)
    for name, (tries, source, earns) in IN_CODE.items()
]
