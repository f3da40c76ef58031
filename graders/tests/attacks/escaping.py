"""Attacks that want to use up the machine, to outlive their run, or to take others with them.

What could take the machine along where nothing holds it is bounded: by a number of processes, of
bytes, of seconds. One that got past a limit prints REACHED (which its source holds in two pieces).
"""

from __future__ import annotations

from graders.tests.attacks.corpus import RIGHT, Attack, code

IN_CODE = {
    "endless loop": (
        "never comes back, and takes no interrupt",
        code("""
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        while True: pass
    except BaseException:
        pass
"""),
        False,
    ),
    "endless answer": (
        "comes back for the visible cases, and never for others",
        "def double(x):\n    while x not in (0.0, 2.0): pass\n    return x + x\n",
        False,
    ),
    "fork bomb": (
        "starts processes that start processes (up to 200)",
        code(
            """
import os, time
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError as error:
    print(error)
print(made, "REA" "CHED" if made > 20 else "")
""",
            RIGHT,
        ),
        True,
    ),
    "thread bomb": (
        "starts threads without end (up to 20,000)",
        code(
            """
import threading, time
try:
    for _ in range(20_000):
        threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
except (RuntimeError, MemoryError) as error:
    print(error)
""",
            RIGHT,
        ),
        True,
    ),
    "memory bomb": (
        "fills the memory (up to 6 GiB)",
        code("""
held = []
for _ in range(96):
    held.append(bytearray(b"x") * (64 << 20))
print("REA" "CHED")
"""),
        False,
    ),
    "memory bomb in the answer": (
        "returns an array of 40 GB",
        """
import numpy as np
def double(x):
    return np.broadcast_to(np.float64(x), (100_000, 50_000))
""",
        False,
    ),
    "one long line": (
        "prints 100 MB on one line",
        code("print('x' * 100_000_000)", RIGHT),
        False,  # the cell ends at ten million characters
    ),
    "a million lines": (
        "prints a million lines",
        code("for number in range(1_000_000): print(number)", RIGHT),
        True,
    ),
    "memory shared with nobody": (
        "fills memory that it could share with a process it may not start (up to 6 GiB)",
        code("""
import mmap
held = []
for _ in range(96):
    held.append(mmap.mmap(-1, 64 << 20))
    held[-1].write(b"x" * (64 << 20))
print("REA" "CHED")
"""),
        False,
    ),
    "memory made read-only": (
        "fills memory, and makes it read-only so that it is no longer counted (up to 6 GiB)",
        code("""
import ctypes
libc, size = ctypes.CDLL(None), 64 << 20
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
for _ in range(96):
    place = libc.mmap(None, size, 3, 0x22, -1, 0)
    ctypes.memset(place, 1, size)
    libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(size), 1)
print("REA" "CHED")
"""),
        False,
    ),
    "memory of the kernel": (
        "has the kernel hold semaphores, which no limit on memory counts (and gives them back)",
        code(
            """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
made = libc.semget(0, 32000, 0o600)
print(ctypes.get_errno(), "REA" "CHED" if made >= 0 else "")
libc.semctl(made, 0, 0)
""",
            RIGHT,
        ),
        True,
    ),
    "pages in pipes": (
        "has pipes hold memory that is no longer its own (up to 64 MB)",
        code(
            """
import ctypes, fcntl, os
libc = ctypes.CDLL(None, use_errno=True)
class Piece(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t)]
held, taken = ctypes.create_string_buffer(1 << 20), 0
pipes = []
for _ in range(64):
    try:
        pipes.append(os.pipe())
        fcntl.fcntl(pipes[-1][1], 1031, 1 << 20)
    except OSError as error:
        print(error)
    piece = Piece(ctypes.addressof(held), 1 << 16)
    taken += max(0, libc.vmsplice(pipes[-1][1], ctypes.byref(piece), 1, 2))
print(taken, "REA" "CHED" if taken else "")
for end in (end for pair in pipes for end in pair):
    os.close(end)
""",
            RIGHT,
        ),
        True,
    ),
    "sockets of other kinds": (
        "makes sockets that lead to the kernel, to a host, to other submissions",
        code(
            """
import socket
made = []
for family in ("AF_NETLINK", "AF_VSOCK", "AF_INET", "AF_UNIX"):
    try:
        made.append(socket.socket(getattr(socket, family), socket.SOCK_DGRAM))
        if family == "AF_UNIX":
            made[-1].bind(b"\\0TOKEN")
        print(family, "REA" "CHED")
    except OSError as error:
        print(family, error)
""",
            RIGHT,
        ),
        True,
    ),
    "a terminal": (
        "makes a terminal, in a place where those of all others would lie too",
        code(
            """
import os
try:
    print(os.openpty(), "REA" "CHED")
except OSError as error:
    print(error)
""",
            RIGHT,
        ),
        True,
    ),
    "a printed text of 30 MB": (
        "has its process claim that a cell has printed 30 MB",
        code(
            """
from graders.seam import student
student.Server.printed = lambda self, place: "\\0" * 30_000_000
""",
            RIGHT,
        ),
        True,
    ),
    "a reply of many objects": (
        "sends twelve million values in a reply, some bytes each",
        code("""
import os, struct, time
body = b"\\x92\\xa4list\\xdd" + struct.pack(">I", 12 << 20) + bytes([0xC0]) * (12 << 20)
body = struct.pack(">I", len(body)) + body
for descriptor in range(3, 64):
    try:
        os.write(descriptor, struct.pack(">Q", len(body)) + body)
    except OSError:
        pass
"""),
        False,
    ),
    "a cell of empty lists": (
        "is a cell of two million characters, each pair of which is a list",
        code("[]\n" * 700_000, RIGHT),
        True,
    ),
    "a cell of magics": (
        "is a cell of more magics than IPython takes, and of much that it has to look through",
        code("%time 1\n" * 600 + "x = 1\n" * 10_000),
        False,
    ),
    "an exception like a limit": (
        "raises an exception with the name of a limit, to be told from a wrong answer",
        "class TimeLimit(Exception): pass\ndef double(x):\n    raise TimeLimit()\n",
        False,
    ),
    "full disk": (
        "fills the disk (up to 400 MB)",
        code(
            """
import os, tempfile
written = 0
try:
    with open(os.path.join(tempfile.gettempdir(), "full-TOKEN"), "wb") as file:
        for _ in range(400):
            file.write(b"x" * 1_000_000)
            file.flush()
            written += 1
    os.remove(file.name)
except OSError as error:
    print(error)
print("REA" "CHED" if written > 200 else "")
""",
            RIGHT,
        ),
        True,
    ),
    "daemon": (
        "starts a program that outlives the run",
        code(
            """
import os, subprocess
try:
    subprocess.Popen(["PYTHON", "-c", "import time; time.sleep(600)", "TOKEN"],
                     start_new_session=True)
except OSError as error:
    print(error)
""",
            RIGHT,
        ),
        True,
    ),
    "forked daemon": (
        "forks twice, and lets the grandchild write when the run is over",
        code(
            """
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("PYTHON", ["PYTHON", "-c", "import time; time.sleep(600)", "TOKEN"])
        os._exit(0)
except OSError as error:
    print(error)
""",
            RIGHT,
        ),
        True,
    ),
    "exit": ("ends its process, without a word", code("import os\nos._exit(0)"), False),
    "exit in the answer": (
        "ends its process when it is asked for the hidden inputs",
        "import os\ndef double(x):\n    return x + x if x >= 0 else os._exit(0)\n",
        False,
    ),
    "SIGKILL": (
        "kills itself",
        code("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
        False,
    ),
    "SIGKILL to others": (
        "kills every process that it may",
        code(
            """
import os, signal
for number in (os.getppid(), 1, 0):
    try:
        if number: os.kill(number, 0)
        print(number, "REA" "CHED" if number not in (0, 1) else "")
    except OSError as error:
        print(error)
""",
            RIGHT,
        ),
        True,
    ),
    "segfault": ("reads from address 0", code("import ctypes\nctypes.string_at(0)"), False),
    "stack overflow": (
        "recurses until the stack of C is full",
        code("""
import sys
sys.setrecursionlimit(10**9)
def deeper(n):
    return max([n], key=lambda _: deeper(n + 1))
deeper(0)
"""),
        False,
    ),
    "closed files": (
        "closes every file that its process has open",
        code("import os\nos.closerange(0, 1000)"),
        False,
    ),
    "deep reply": (
        "returns lists in lists, 100,000 deep",
        """
def double(x):
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested
""",
        False,
    ),
    "wide reply": (
        "returns a list of ten million numbers",
        "def double(x):\n    return [float(x)] * 10_000_000\n",
        False,
    ),
    "slow end": (
        "takes its time when its process is to end",
        code(
            """
import atexit, threading, time
class Slow:
    def __del__(self): time.sleep(600)
slow = Slow()
atexit.register(time.sleep, 600)
threading.Thread(target=time.sleep, args=(600,)).start()
""",
            RIGHT,
        ),
        True,
    ),
}

# What they have used up is missing in their process from then on: that may cost other points.
SPOILING = ("thread bomb", "a cell of empty lists")

ATTACKS = [
    Attack("escaping limits", name, tries, source, earns=earns, spoils=name in SPOILING)
    for name, (tries, source, earns) in IN_CODE.items()
]
