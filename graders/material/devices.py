"""The devices that a lesson on sharding runs on."""

from __future__ import annotations

import contextlib
from typing import Any

import jax

from graders.errors import CourseError


class DevicesError(CourseError, RuntimeError):
    """There is one device alone, and JAX has started; the message says what to do."""


def lesson_devices(count: int = 8) -> list[Any]:
    """The accelerators, where there are two or more, and else `count` simulated CPU devices.

    CPU devices can be simulated only before JAX starts its backend, which the first array does.

    Args:
        count: how many CPU devices are simulated where there are no accelerators.

    Raises:
        DevicesError: JAX has started with one CPU device.

    Example:
        >>> devices = lesson_devices(8)
        >>> len(devices) > 1
        True
    """
    with contextlib.suppress(RuntimeError):  # JAX has started: as many as there are
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices()
    if len(devices) > 1:
        return devices
    with contextlib.suppress(RuntimeError):  # a JAX without a CPU backend
        devices = jax.devices("cpu")
    if len(devices) == 1 and devices[0].platform == "cpu":
        raise DevicesError(
            f"JAX has already started, with one device. Restart the kernel (Kernel, Restart) and "
            f"run this cell before any other: it asks for {count} simulated devices."
        )
    return devices
