"""Files of the course: where the package and its cache are, digests, writing in one step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = Path(__file__).absolute().parent


def cache_folder() -> Path:
    """The user's folder for files that the course can fetch or make again."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(caches or Path.home() / ".cache") / "jax-course"


def digest(*parts: bytes) -> str:
    """The SHA-256 of `parts` in hexadecimal; other parts, or other borders, give another one."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def write_atomically(path: Path, content: str | bytes) -> bool:
    """`path` holds `content`, or what it held before if writing fails.

    Folders that are missing are made. Text is written as UTF-8.

    Returns:
        False where the file held exactly that already; then it is not touched.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; it takes the place of `path` when the block ends.

    If the block raises, `path` is as it was and the unfinished file is gone. Its name is hidden,
    is this process's own and ends like that of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
