"""Attacks that want to know what they may not: each one prints what it finds."""

from __future__ import annotations

from graders.tests.attacks.corpus import RIGHT, Attack, code

SHOW = """
import glob, os
def show(*patterns):
    for pattern in patterns:
        for path in glob.glob(pattern, recursive=True):
            try:
                print(path, open(path, "rb").read(200_000).decode(errors="replace"))
            except OSError as error:
                print(path, error)
"""


def reads(what: str) -> str:
    return code(SHOW + what, RIGHT)


LETTER = (
    "leaves a letter wherever it can, and looks there for one of another submission",
    code(
        """
import os
own = "letter-" + os.urandom(8).hex()
for folder in (os.curdir, "/dev", "/dev/pts", "/dev/shm", "/tmp", "/var/tmp", "/scratch", "/run"):
    try:
        if any(name.startswith("letter-") and name != own for name in os.listdir(folder)):
            print(folder, "REA" "CHED")
        with open(os.path.join(folder, own), "w") as file:
            file.write("a solution")
    except OSError as error:
        print(type(error).__name__)
""",
        RIGHT,
    ),
)

IN_CODE = {
    "hidden tests on disk": (
        "looks for the hidden tests in the lesson as its author has it",
        reads("show('ROOT/build/source/*/*.ipynb', '*.ipynb', '../*.ipynb', '../*/*/*.ipynb')"),
    ),
    "solutions": ("reads the solutions", reads("show('ROOT/solutions/**/*.py')")),
    "other submissions": (
        "reads what others have handed in",
        reads("show('ROOT/build/submitted/**/*.ipynb', 'ROOT/build/autograded/**/*.ipynb')"),
    ),
    "gradebook": (
        "opens the gradebook, and prints the names of its students",
        code(
            """
import sqlite3
try:
    with sqlite3.connect("ROOT/build/gradebook.db") as book:
        print(book.execute("select id, first_name from student").fetchall())
except sqlite3.Error as error:
    print(error)
""",
            RIGHT,
        ),
    ),
    "reports": ("reads the journal and the reports", reads("show('ROOT/build/reports/*')")),
    "environment": ("prints its environment", reads("print(dict(os.environ))")),
    "other processes": (
        "reads the environments and command lines of other processes",
        reads("show('/proc/[0-9]*/environ', '/proc/[0-9]*/cmdline')"),
    ),
    "roots of other processes": (
        "reads files through the root folders of other processes",
        reads("show('/proc/[0-9]*/rootROOT/secret.txt', '/proc/[0-9]*/cwd/secret.txt')"),
    ),
    "memory of other processes": (
        "reads the memory of its parents",
        code(
            """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Piece(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("length", ctypes.c_size_t)]
for process in {os.getppid(), 1, os.getpid() - 1}:
    try:
        with open(f"/proc/{process}/maps") as maps, open(f"/proc/{process}/mem", "rb") as memory:
            for line in maps:
                if "[heap]" in line:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    memory.seek(start)
                    print(memory.read(end - start).decode(errors="replace"))
    except OSError as error:
        print(error)
""",
            RIGHT,
        ),
    ),
    "compiled solutions": (
        "looks through the programs that the trusted side has compiled",
        code(
            """
import os
for folder in ("/compiled", "ROOT/build/compiled"):
    try:
        print(folder, os.listdir(folder)[:3], "REA" "CHED")
    except OSError as error:
        print(folder, error)
""",
            RIGHT,
        ),
    ),
    "a letter in a shared place, one": LETTER,
    "a letter in a shared place, two": LETTER,
    "files of the account": (
        "reads a file of the account that grades",
        reads("show('ROOT/secret.txt', '/root/.netrc', '/home/*/.netrc')"),
    ),
    "network": (
        "asks a server of the machine that grades",
        code(
            """
import socket
try:
    with socket.create_connection(("127.0.0.1", PORT), 5) as line:
        print(line.recv(1000).decode())
except OSError as error:
    print(error)
""",
            RIGHT,
        ),
    ),
    "a letter from a friend": (
        "reads what another submission has left for it",
        reads("show('LETTER_BOX', '/dev/shm/*', '/tmp/letter*')"),
    ),
    "hidden inputs in an error": (
        "raises an error whose words are the input",
        """
def double(x):
    if x < 0:
        raise ValueError(f"asked for {float(x)}")
    return x + x
""",
    ),
    "hidden inputs in print": (
        "prints its inputs, to the screen and to the standard error",
        """
import sys
def double(x):
    print("asked for", x)
    print(x, file=sys.stderr)
    return x + x
""",
    ),
    "hidden inputs kept": (
        "keeps its inputs, and prints them when its process ends or a later cell runs",
        code(
            """
import atexit
kept = []
atexit.register(lambda: print(kept))
get_ipython().events.register("pre_run_cell", lambda *_: print(kept))
def double(x):
    kept.append(float(x))
    return x + x
""",
            "",
        ),
    ),
    "hidden inputs in a result": (
        "returns an object whose text is the input, where the input is a hidden one",
        """
class Told:
    def __init__(self, x): self.x = float(x)
    def __repr__(self): return f"asked for {self.x}"
def double(x):
    return Told(x) if x < 0 else x + x
""",
    ),
}

FAILS_IN_HIDDEN = ("hidden inputs in an error", "hidden inputs in a result")

ATTACKS = [
    Attack("reading", name, tries, source, earns=name not in FAILS_IN_HIDDEN)
    for name, (tries, source) in IN_CODE.items()
]
