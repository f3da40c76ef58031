"""MNIST is the published one to the bit, and a file that is missing or damaged is said so."""

import contextlib
import hashlib
import importlib.metadata
import re
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from graders.material import mnist as data
from graders.material.mnist import DataError, Mnist, fetch, load_mnist

COMMITTED = Path(data.__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The only folder that is looked in."""
    monkeypatch.setattr(data, "data_folders", lambda: [tmp_path])
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jax-course"


def openml(mnist: Mnist):
    """A stand-in for scikit-learn's fetch_openml that answers in OpenML's form."""

    def fetch_openml(name, *, version, return_X_y, as_frame, parser):
        assert (name, version, return_X_y, as_frame) == ("mnist_784", 1, True, False)
        x = np.concatenate([mnist.x_train, mnist.x_test]).reshape(-1, 784)
        y = np.concatenate([mnist.y_train, mnist.y_test])
        return x.astype(np.int64), y.astype(str).astype(object)

    return fetch_openml


def test_it_is_mnist(mnist):
    assert [array.shape for array in mnist] == list(data.SHAPES.values())
    assert {array.dtype for array in mnist} == {np.dtype(np.uint8)}
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(mnist.y_test).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip


def test_the_idx_files_have_the_published_sums(mnist):
    """The MD5 sums in data/README.md are those of the files that the arrays were made from."""
    recorded = re.findall(r"\b[0-9a-f]{32}\b", (COMMITTED / "README.md").read_text())
    assert recorded == [hashlib.md5(idx(array)).hexdigest() for array in mnist]


def idx(array: np.ndarray) -> bytes:
    """An array of bytes in the IDX format: two zeros, the type, the sizes, the data."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_the_named_folder_comes_first_and_the_cache_last(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("JAX_COURSE_DATA", str(tmp_path))
    assert data.data_folders() == [tmp_path, COMMITTED, cache]
    monkeypatch.delenv("JAX_COURSE_DATA")
    assert data.data_folders() == [COMMITTED, cache]


def test_a_folder_without_the_file_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COURSE_DATA", str(tmp_path / "nothing"))
    assert len(load_mnist().y_test) == 10_000


def test_a_missing_file_is_said_with_every_place_and_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "data_folders", lambda: [tmp_path / "a", tmp_path / "b"])
    monkeypatch.setattr(data, "address", lambda: "http://localhost:1/mnist.npz")
    with pytest.raises(DataError) as raised:
        load_mnist()
    *places, reason, way_out = str(raised.value).splitlines()
    assert places == [
        "MNIST is not here. Looked for",
        f"  {tmp_path / 'a' / 'mnist.npz'}",
        f"  {tmp_path / 'b' / 'mnist.npz'}",
    ]
    assert reason.startswith("Nor could it be fetched from the course's repository: <urlopen error")
    assert way_out == "To fetch it from OpenML: jax-course fetch"


# ---- from the course's repository, as on a hosted notebook ----


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any, **__: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server for the files of `folder`."""
    with ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/mnist.npz"
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere(monkeypatch, cache):
    """No folder has the file; the cache folder is looked in."""
    monkeypatch.setattr(data, "data_folders", lambda: [cache])


def test_what_is_nowhere_comes_from_the_repository_once(mnist, nowhere, cache, monkeypatch):
    with served(COMMITTED) as url:
        monkeypatch.setattr(data, "address", lambda: url)
        assert all((a == b).all() for a, b in zip(load_mnist(), mnist, strict=True))
    assert [entry.name for entry in cache.iterdir()] == ["mnist.npz"]
    assert len(load_mnist().y_test) == 10_000  # from the cache: the server is gone


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "404"), (b"<html>", "cannot be read"), ("cut", "cannot be read")],
    ids=["no such file", "another page", "cut short"],
)
def test_what_is_not_mnist_is_not_kept(nowhere, cache, tmp_path, monkeypatch, content, reason):
    if content == "cut":
        content = (COMMITTED / "mnist.npz").read_bytes()[:100_000]
    if content:
        (tmp_path / "mnist.npz").write_bytes(content)
    with served(tmp_path) as url:
        monkeypatch.setattr(data, "address", lambda: url)
        with pytest.raises(DataError, match=f"(?s)MNIST is not here.*{reason}.*jax-course fetch"):
            load_mnist()
    assert list(cache.iterdir()) == []


def test_the_address_is_the_repository_that_the_package_names(monkeypatch):
    named = {"Project-URL": ["Home, https://a.example", "Repository, https://b.example/c"]}

    class Metadata:
        def get_all(self, name, default):
            return named.get(name, default)

    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: Metadata())
    assert data.address() == "https://b.example/c/raw/HEAD/data/mnist.npz"
    named.clear()
    assert data.address() == ""


def test_a_package_that_names_no_repository_says_how_too(nowhere, monkeypatch):
    monkeypatch.setattr(data, "address", lambda: "")
    with pytest.raises(DataError, match="To fetch it from OpenML: jax-course fetch"):
        load_mnist()


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "mnist.npz", **arrays)
    return folder / "mnist.npz"


def test_one_changed_pixel_is_damage(mnist, folder):
    x_test = mnist.x_test.copy()
    x_test[123, 4, 5] ^= 1
    path = saved(folder, **mnist._replace(x_test=x_test)._asdict())
    with pytest.raises(DataError) as raised:
        load_mnist()
    assert str(raised.value) == (
        f"{path} is damaged: not MNIST's x_test. Delete it, then fetch it again: jax-course fetch"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda mnist: {"y_test": mnist.y_test.astype(np.int8)},
        lambda mnist: {"y_test": mnist.y_test.reshape(100, 100)},
        lambda mnist: {"y_test": mnist.y_test[:-1]},
        lambda mnist: {"y_test": mnist.y_test[::-1]},
    ],
    ids=["dtype", "shape", "length", "order"],
)
def test_other_arrays_are_damage(mnist, folder, change):
    saved(folder, **mnist._asdict() | change(mnist))
    with pytest.raises(DataError, match="damaged: not MNIST's y_test"):
        load_mnist()


def test_arrays_in_another_layout_are_the_same(mnist, folder):
    saved(folder, **mnist._replace(x_test=np.asfortranarray(mnist.x_test))._asdict())
    assert (load_mnist().x_test == mnist.x_test).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x04N."],
    ids=["empty", "text", "zip header", "npy header", "pickle"],
)
def test_a_file_that_is_no_archive_cannot_be_read(folder, content):
    (folder / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(.*\). Delete it, then fetch it again"):
        load_mnist()


def test_a_missing_array_cannot_be_read(mnist, folder):
    saved(folder, x_train=mnist.x_train)
    with pytest.raises(DataError, match=r"cannot be read .*y_train"):
        load_mnist()


@pytest.mark.parametrize("kept", [0.1, 0.9, 0.999999])
def test_a_download_cut_short_cannot_be_read(folder, kept):
    whole = (COMMITTED / "mnist.npz").read_bytes()
    (folder / "mnist.npz").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="cannot be read"):
        load_mnist()


def test_no_flipped_byte_changes_what_is_loaded(mnist, folder):
    """Wherever a byte is flipped, the arrays are MNIST's or the damage is said."""
    whole = bytearray((COMMITTED / "mnist.npz").read_bytes())
    places = [0, 8, 30, 60, 100, len(whole) // 2, len(whole) - 200, len(whole) - 60]
    said = 0
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= 0xFF
        (folder / "mnist.npz").write_bytes(damaged)
        try:
            assert all((a == b).all() for a, b in zip(load_mnist(), mnist, strict=True))
        except DataError:
            said += 1
    assert said >= len(places) // 2


def test_fetch_writes_what_load_mnist_reads(mnist, cache, monkeypatch):
    path = fetch(openml(mnist))
    assert path == cache / "mnist.npz"
    monkeypatch.setattr(data, "data_folders", lambda: [cache])
    assert all((a == b).all() for a, b in zip(load_mnist(), mnist, strict=True))
    assert [entry.name for entry in cache.iterdir()] == ["mnist.npz"]


def test_fetch_refuses_other_images(mnist, cache):
    swapped = mnist._replace(x_test=mnist.x_test[::-1])
    with pytest.raises(DataError, match=r"something else than MNIST: x_test differs"):
        fetch(openml(swapped))
    assert not cache.exists()


@pytest.mark.parametrize(
    "answer",
    [OSError("no network"), ValueError("dataset was removed"), (np.zeros((3, 5)), ["1", "2", "3"])],
    ids=["network", "openml", "size"],
)
def test_fetch_says_why_nothing_came(cache, answer):
    def fetch_openml(*args, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(DataError, match=r"cannot be had from OpenML: (no net|dataset w|cannot re)"):
        fetch(fetch_openml)
    assert not cache.exists()


def test_scikit_learns_fetch_takes_what_is_asked_of_it(monkeypatch, cache):
    """The real function accepts the arguments, and without a network the error is ours."""
    from sklearn.datasets import _openml

    def no_network(*args, **options):
        raise URLError("no network")

    monkeypatch.setattr(_openml, "_open_openml_url", no_network)
    with pytest.raises(DataError, match=r"cannot be had from OpenML: .*no network"):
        fetch()
