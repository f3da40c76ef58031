"""Rebuilds, in the student's process, what a request cannot carry as it is.

Those are keys, devices, functions with derivative rules, and the identity of functions.
"""

from __future__ import annotations

import sys
from typing import Any

import jax


class TooFewDevices(Exception):
    """The student's process has fewer devices than the check."""


class _Arrived:
    """The functions that have come, by their numbers."""

    def __init__(self) -> None:
        self.functions: dict[int, Any] = {}


_arrived = _Arrived()  # no bare dict of functions: one that changes is a sign of tampering


def same(number: int, function: Any) -> Any:
    """The function that came first with this number: this one, or an equal one that came before."""
    return _arrived.functions.setdefault(number, function)


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


def custom_rule(function: Any) -> str | tuple:
    """How a `jax.custom_vjp` or `jax.custom_jvp` is pickled.

    One of a library, such as `jax.nn.relu`, goes by its name. Any other goes as its parts and then
    its rules, which come last because they may call the function itself.
    """
    module = sys.modules.get(function.__module__)
    if module is not None and getattr(module, function.__qualname__, None) is function:
        return function.__qualname__
    names = ("fwd", "bwd") if isinstance(function, jax.custom_vjp) else ("jvp",)
    state = {name: getattr(function, name) for name in (*names, "symbolic_zeros")}
    make, parts = type(function), (function.__wrapped__, function.nondiff_argnums)
    return make, parts, state, None, None, define_rule


def define_rule(function: Any, state: dict[str, Any]) -> None:
    """Gives the function its derivative rules."""
    symbolic = state.pop("symbolic_zeros")
    if isinstance(function, jax.custom_vjp):
        function.defvjp(*state.values(), symbolic_zeros=symbolic)
    else:
        function.defjvp(*state.values(), symbolic_zeros=symbolic)
