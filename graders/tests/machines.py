"""Machines on which there can be no sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def refuse_namespaces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on bubblewrap says what it says where the kernel refuses it new namespaces."""
    fake = folder / "bwrap"
    complaint = "bwrap: No permissions to create a new namespace"
    fake.write_text(f"#!/bin/sh\necho '{complaint}' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
