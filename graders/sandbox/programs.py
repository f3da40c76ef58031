"""The compiled programs that the sandbox sees: a folder that can be searched, and not listed.

The trusted side compiles the solutions too, and a program tells whoever reads it what the solution
does. The name of an entry is a hash of the program that was compiled, so who knows the name has the
program already; who only looks around finds nothing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

SEARCHED = 0o311  # nobody lists it, the owner adds to it
ENTRIES = "-cache"  # how the names of JAX's entries end


class ShownPrograms:
    """A folder beside the cache that holds the same entries, until it is closed."""

    def __init__(self, cache: Path) -> None:
        """Makes it, and removes those of processes that were killed."""
        cache.mkdir(parents=True, exist_ok=True)
        self.cache, self.shown = cache, set[str]()
        beginning = f"{cache.name}-shown-"
        for left in cache.parent.glob(f"{beginning}*"):
            if not _runs(left.name.removeprefix(beginning).split("-")[0]):
                _remove(left)
        made = tempfile.mkdtemp(prefix=f"{beginning}{os.getpid()}-", dir=cache.parent)
        self.folder = Path(made)
        self.folder.chmod(SEARCHED)

    def update(self) -> None:
        """From now on what has been compiled since is there too; so are folders, such as fonts."""
        with os.scandir(self.cache) as entries:
            for entry in entries:
                if entry.is_dir():
                    shutil.copytree(entry.path, self.folder / entry.name, dirs_exist_ok=True)
                elif entry.name.endswith(ENTRIES) and entry.name not in self.shown:
                    self._show(entry)

    def _show(self, entry: os.DirEntry) -> None:
        self.shown.add(entry.name)
        try:
            os.link(entry.path, self.folder / entry.name)
        except OSError:  # a file system without links
            shutil.copyfile(entry.path, self.folder / entry.name)

    def close(self) -> None:
        """Removes it; the cache stays."""
        _remove(self.folder)


def _runs(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        folder.chmod(0o700)
        shutil.rmtree(folder)
