"""The course's data: the whole of MNIST as four NumPy arrays, checked against recorded digests.

Where the file is missing it is taken from the course's repository, or by `jax-course fetch` from
OpenML.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from graders.errors import CourseError
from graders.files import PACKAGE, cache_folder, replacing

DISTRIBUTION = "jax-course"
FILE = "mnist.npz"
SECONDS = 30  # without a reply from the repository
FETCH = "jax-course fetch"
REPLACE = f"Delete it, then fetch it again: {FETCH}"
SHAPES = {
    "x_train": (60_000, 28, 28),
    "y_train": (60_000,),
    "x_test": (10_000, 28, 28),
    "y_test": (10_000,),
}
DIGESTS = {  # SHA-256 of each array's bytes
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}


class Mnist(NamedTuple):
    """Images of digits, uint8 from 0 (paper) to 255 (ink), and the digit that each one shows."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class DataError(CourseError):
    """The data is missing or damaged; the message says where it was sought and how to fetch it."""


def load_mnist() -> Mnist:
    """Returns the whole of MNIST: 60,000 images to train with and 10,000 to test with.

    Looks for `mnist.npz` in the folder `$JAX_COURSE_DATA`, then in `data/` beside the package,
    then in the user's cache folder. The first one found is read and checked. Where there is none,
    as on a hosted notebook, it is first fetched from the course's repository into the cache folder.

    Raises:
        DataError: no folder holds the file and it cannot be fetched, or its arrays are not the
            recorded ones.

    Example:
        >>> load_mnist().x_train.shape
        (60000, 28, 28)
    """
    places = [folder / FILE for folder in data_folders()]
    found = next((path for path in places if path.is_file()), None)
    return read(found) if found else _from_repository(places)


def data_folders() -> list[Path]:
    """The folders that `load_mnist` looks in, in that order."""
    named = os.environ.get("JAX_COURSE_DATA")
    beside_the_package = PACKAGE.parent / "data"
    return [*([Path(named)] if named else []), beside_the_package, cache_folder()]


def _from_repository(places: list[Path]) -> Mnist:
    try:
        return download(address())
    except (OSError, ValueError, DataError) as error:  # no network; no address; something else
        looked = "".join(f"\n  {path}" for path in places)
        reason = f"Nor could it be fetched from the course's repository: {error}"
        raise DataError(
            f"MNIST is not here. Looked for{looked}\n{reason}\nTo fetch it from OpenML: {FETCH}"
        ) from error


def address() -> str:
    """Where the course's repository has the file; "" where the package does not know it."""
    try:
        urls = importlib.metadata.metadata(DISTRIBUTION).get_all("Project-URL", [])
    except importlib.metadata.PackageNotFoundError:
        urls = []
    pages = dict(url.split(", ", 1) for url in urls)
    return f"{pages['Repository']}/raw/HEAD/data/{FILE}" if "Repository" in pages else ""


def download(url: str) -> Mnist:
    """Fetches the file into the user's cache folder; what is not MNIST to the bit is not kept."""
    with replacing(cache_folder() / FILE) as unfinished:
        with urllib.request.urlopen(url, timeout=SECONDS) as page, unfinished.open("wb") as file:
            shutil.copyfileobj(page, file)
        return read(unfinished)


def read(path: Path) -> Mnist:
    """The arrays in the file `path`, checked."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            mnist = Mnist(*(arrays[name] for name in Mnist._fields))
    except Exception as error:  # a damaged archive raises whatever its damaged part leads to
        raise DataError(f"{path} cannot be read ({error}). {REPLACE}") from error
    if damaged := differences(mnist):
        raise DataError(f"{path} is damaged: not MNIST's {', '.join(damaged)}. {REPLACE}")
    return mnist


def differences(mnist: Mnist) -> list[str]:
    """The names of the arrays that are not the recorded ones, to the bit."""
    return [name for name, array in mnist._asdict().items() if not _is_recorded(name, array)]


def _is_recorded(name: str, array: np.ndarray) -> bool:
    if array.dtype != np.uint8 or array.shape != SHAPES[name]:
        return False
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() == DIGESTS[name]


def fetch(fetch_openml: Callable | None = None) -> Path:
    """Fetches MNIST from OpenML into the user's cache folder, and returns the file's path.

    Raises:
        DataError: nothing came, or not MNIST to the bit; nothing is written then.
    """
    fetch_openml = fetch_openml or _scikit_learns_fetch()
    try:
        mnist = from_openml(fetch_openml)
    except (OSError, ValueError) as error:  # no network; OpenML's own errors; other sizes
        raise DataError(f"MNIST cannot be had from OpenML: {error}") from error
    if wrong := differences(mnist):
        raise DataError(f"OpenML sent something else than MNIST: {', '.join(wrong)} differs.")
    path = cache_folder() / FILE
    write(path, mnist)
    return path


def _scikit_learns_fetch() -> Callable:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise DataError("Fetching needs scikit-learn: pip install scikit-learn") from error
    return fetch_openml


def from_openml(fetch_openml: Callable) -> Mnist:
    """OpenML's `mnist_784`: 70,000 rows of 784 numbers, the images to train with first."""
    pixels, digits = fetch_openml(  # liac-arff, because the default parser needs pandas
        "mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff"
    )
    x = np.asarray(pixels).astype(np.uint8).reshape(-1, 28, 28)
    y = np.asarray(digits).astype(np.uint8)
    split = len(y) * 6 // 7
    return Mnist(x[:split], y[:split], x[split:], y[split:])


def write(path: Path, mnist: Mnist) -> None:
    """Writes the arrays to `path`; a write that is cut short leaves nothing there."""
    with replacing(path) as unfinished:
        np.savez_compressed(unfinished, **mnist._asdict())
