"""lesson_devices: eight devices with no set-up, and a sentence where it is too late."""

from __future__ import annotations

import os
import subprocess
import sys

import jax

from graders import lesson_devices


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    }
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | variables
    )


FIRST = "from graders import lesson_devices; print(len(lesson_devices({})))"
TOO_LATE = "import jax.numpy as jnp; jnp.ones(3); " + FIRST.format("")


def test_eight_devices_in_a_fresh_kernel() -> None:
    assert run(FIRST.format("")).stdout == "8\n"
    assert run(FIRST.format("4")).stdout == "4\n"


def test_as_many_as_were_asked_for_before() -> None:
    flags = "--xla_force_host_platform_device_count=4"
    assert run(TOO_LATE, XLA_FLAGS=flags).stdout == "4\n"


def test_where_jax_has_started_the_way_out_is_told() -> None:
    last = run(TOO_LATE).stderr.strip().splitlines()[-1]
    assert "DevicesError: JAX has already started, with one device. Restart the kernel" in last


def test_devices_that_are_there_already_are_the_ones() -> None:
    """This process has asked for eight before JAX started."""
    assert len(jax.devices()) == 8
    assert lesson_devices(4) == jax.devices()
