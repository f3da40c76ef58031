"""A JAX that is too old is refused in a sentence, before anything of it is imported."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from graders.material import jax_version
from graders.material.jax_version import OldJax, least, refuse_old

ROOT = Path(jax_version.__file__).parents[2]


def installed(monkeypatch: pytest.MonkeyPatch, version: str, needs: list[str] | None) -> None:
    def requires(name: str) -> list[str] | None:
        if needs is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return needs

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)


def test_an_old_one_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "0.9.2", ["numpy>=2.0", "jax>=0.10", 'jaxlib>=9; extra == "lab"'])
    with pytest.raises(OldJax) as raised:
        refuse_old()
    assert str(raised.value) == (
        "The course needs JAX 0.10 or later, and JAX 0.9.2 is installed here. Upgrade it with "
        "`pip install --upgrade jax` (on a GPU `jax[cuda13]`, on a TPU `jax[tpu]`), then restart "
        "the kernel."
    )
    assert raised.value._render_traceback_() == [f"OldJax: {raised.value}"]


@pytest.mark.parametrize(
    "version", ["0.10", "0.10.0", "0.10.10", "0.12.0.1", "1.0", "0.10.0.dev20260301+abc"]
)
def test_a_new_one_passes(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    installed(monkeypatch, version, ["jax>=0.10"])
    refuse_old()


@pytest.mark.parametrize("needs", [None, [], ["jaxtyping>=0.3"]])
def test_where_nobody_can_tell_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, needs: list[str] | None
) -> None:
    installed(monkeypatch, "0.1", needs)
    refuse_old()


def test_the_floor_is_the_one_of_pyproject() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (floor,) = (str(r.specifier) for r in map(Requirement, needs) if r.name == "jax")
    assert floor == f">={least()}"


def test_importing_graders_beside_an_old_jax_is_refused_first(tmp_path: Path) -> None:
    """A jax that cannot even be imported, with the metadata of an old one."""
    (tmp_path / "jax.py").write_text("raise RuntimeError('jax was imported')")
    metadata = tmp_path / "jax-0.4.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: jax\nVersion: 0.4.1\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import graders"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "OldJax: The course needs JAX" in ran.stderr.splitlines()[-1]
    assert "JAX 0.4.1 is installed" in ran.stderr
    assert "jax was imported" not in ran.stderr
