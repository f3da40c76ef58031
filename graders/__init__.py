"""Checks that judge JAX semantics: the map of what a check cell may use.

`from graders import check_values, check_pure, sweep` is how a lesson begins. Nothing is imported
before it is asked for, so that a command that needs no JAX does not wait for it.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from graders.material.jax_version import refuse_old

if TYPE_CHECKING:
    from graders.card.failure import CheckFailed as CheckFailed
    from graders.checks.answer import check_answer as check_answer
    from graders.checks.batching import check_batched as check_batched
    from graders.checks.distribution import check_distribution as check_distribution
    from graders.checks.donation import check_donates as check_donates
    from graders.checks.gradients import check_gradients as check_gradients
    from graders.checks.keys import check_keys as check_keys
    from graders.checks.placement import check_collectives as check_collectives
    from graders.checks.placement import check_sharding as check_sharding
    from graders.checks.primitives import check_primitives as check_primitives
    from graders.checks.purity import check_pure as check_pure
    from graders.checks.shape import check_dtype as check_dtype
    from graders.checks.shape import check_shape as check_shape
    from graders.checks.traces import check_traces as check_traces
    from graders.checks.training import check_training as check_training
    from graders.checks.values import check_values as check_values
    from graders.material.cases import integers as integers
    from graders.material.cases import normal as normal
    from graders.material.cases import sweep as sweep
    from graders.material.cases import uniform as uniform
    from graders.material.devices import lesson_devices as lesson_devices
    from graders.material.mnist import load_mnist as load_mnist
    from graders.material.oracles import numerical_gradient as numerical_gradient
    from graders.notebook.cache_view import show_cache as show_cache
    from graders.notebook.program_view import show_program as show_program
    from graders.notebook.progress import progress as progress
    from graders.seam.subject import result_of as result_of
    from graders.seam.subject import subject as subject
    from graders.seam.subject import through as through

__all__ = [
    "CheckFailed",
    "check_answer",
    "check_batched",
    "check_collectives",
    "check_distribution",
    "check_donates",
    "check_dtype",
    "check_gradients",
    "check_keys",
    "check_primitives",
    "check_pure",
    "check_shape",
    "check_sharding",
    "check_traces",
    "check_training",
    "check_values",
    "integers",
    "lesson_devices",
    "load_mnist",
    "normal",
    "numerical_gradient",
    "progress",
    "result_of",
    "show_cache",
    "show_program",
    "subject",
    "sweep",
    "through",
    "uniform",
]

_MODULES = {
    "card.failure": ("CheckFailed",),
    "checks.answer": ("check_answer",),
    "checks.batching": ("check_batched",),
    "checks.distribution": ("check_distribution",),
    "checks.donation": ("check_donates",),
    "checks.gradients": ("check_gradients",),
    "checks.keys": ("check_keys",),
    "checks.placement": ("check_collectives", "check_sharding"),
    "checks.primitives": ("check_primitives",),
    "checks.purity": ("check_pure",),
    "checks.shape": ("check_dtype", "check_shape"),
    "checks.traces": ("check_traces",),
    "checks.training": ("check_training",),
    "checks.values": ("check_values",),
    "material.cases": ("integers", "normal", "sweep", "uniform"),
    "material.devices": ("lesson_devices",),
    "material.mnist": ("load_mnist",),
    "material.oracles": ("numerical_gradient",),
    "notebook.cache_view": ("show_cache",),
    "notebook.program_view": ("show_program",),
    "notebook.progress": ("progress",),
    "seam.subject": ("result_of", "subject", "through"),
}
_HOME = {name: f"graders.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'graders' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


refuse_old()
# In a notebook the cards need to know of each cell that runs, from now on.
if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
    from graders.notebook.events import connect_if_running

    connect_if_running()
