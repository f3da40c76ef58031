"""Rebuilds, in the student's process, what a request cannot carry as it is: keys and devices."""

from __future__ import annotations

from typing import Any

import jax


class TooFewDevices(Exception):
    """The student's process has fewer devices than the check."""


def key(words: Any, impl: str) -> jax.Array:
    """The typed key, or array of keys, with these words."""
    return jax.random.wrap_key_data(words, impl=impl)


def device(platform: str, number: int) -> Any:
    """The device with that number.

    Raises:
        TooFewDevices: JAX has started here with fewer.
    """
    devices = {device.id: device for device in jax.devices(platform)}
    if number not in devices:
        few = f"JAX has started with fewer devices than this needs: {len(devices)}"
        raise TooFewDevices(
            f"{few}. The cell with lesson_devices has to be the first that uses JAX"
        )
    return devices[number]
