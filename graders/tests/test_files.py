"""Files are written in one step: whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graders.files import cache_folder, digest, replacing, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_utf8_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "marks.csv"
    assert write_atomically(path, "Zoë\n→\n") is True
    assert path.read_bytes() == "Zoë\n→\n".encode()  # and no \r\n
    assert names(path.parent) == ["marks.csv"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    write_atomically(path, b"\r\n\xff")
    assert path.read_bytes() == b"\r\n\xff"


def test_a_file_that_holds_it_already_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    path.write_text("1\n")
    os.utime(path, (1, 1))
    assert write_atomically(path, "1\n") is False
    assert path.stat().st_mtime == 1
    assert write_atomically(path, "2\n") is True
    assert path.read_text() == "2\n"


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "marks.csv"
    path.write_text("old")
    write = Path.write_bytes

    def cut_short(unfinished: Path, data: bytes) -> int:
        write(unfinished, data[:1])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["marks.csv"]
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "other.csv", "new")
    assert names(tmp_path) == ["marks.csv"]


def test_whoever_reads_meanwhile_reads_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "notebook.ipynb"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
        assert unfinished.parent == tmp_path
    assert path.read_text() == "new"
    assert names(tmp_path) == ["notebook.ipynb"]


def test_the_unfinished_file_ends_like_the_target_and_is_hidden(tmp_path: Path) -> None:
    """NumPy would add .npz to another ending; a glob for *.ipynb does not find a hidden name."""
    with replacing(tmp_path / "mnist.npz") as unfinished:
        unfinished.touch()
        assert unfinished.suffix == ".npz"
        assert unfinished.name.startswith(".")
        assert str(os.getpid()) in unfinished.name
        assert list(tmp_path.glob("[!.]*.npz")) == []


@pytest.mark.parametrize("content", ["half", None])
def test_a_block_that_raises_changes_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "notebook.ipynb"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as unfinished:
            if content:
                unfinished.write_text(content)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["notebook.ipynb"]


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "marks.csv").mkdir()
    with pytest.raises(OSError, match="marks"):
        write_atomically(tmp_path / "marks.csv", "1")
    assert names(tmp_path) == ["marks.csv"]


def test_a_digest_knows_where_its_parts_end() -> None:
    assert len({digest(), digest(b""), digest(b"ab"), digest(b"a", b"b"), digest(b"b", b"a")}) == 5
    assert digest(b"a", b"b") == digest(b"a", b"b")
    assert len(digest(b"a")) == 64


def test_where_fetched_files_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAPPDATA", "local")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert cache_folder() == Path("xdg/jax-course")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("local/jax-course")
    monkeypatch.delenv("LOCALAPPDATA")
    assert cache_folder() == Path.home() / ".cache" / "jax-course"
