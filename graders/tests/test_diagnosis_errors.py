"""What JAX says, in words that help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from graders import check_values
from graders.card.failure import Cause
from graders.diagnosis.causes import BY_MESSAGE, BY_TYPE
from graders.diagnosis.errors import by_message
from graders.seam.protocol import Error
from graders.tests.failing import failure
from graders.tests.raising import RAISING, assigns
from graders.values.jax_messages import MESSAGES, Text

X = np.arange(16, dtype=np.float32)

SAYS = {
    "slice of traced size": "a slice whose ends depend on values",
    "truth of an array": "asks a whole array whether it is true",
    "assignment to an array": "JAX arrays cannot be changed in place",
    "assignment to a constant": "a value that cannot be changed in place, such as a tuple",
    "traced shape": "a shape is made from a traced value",
    "traced parameter": "a size or another static parameter is made from a traced value",
    "product of unequal shapes": "a matrix product of shapes that do not fit",
    "unequal shapes": "two shapes that do not broadcast against each other",
    "returned no array": "a function that JAX traces returns something that is not an array",
    "no array": "a JAX function was given something that is not an array",
    "keys of a dict": "two dicts that must have the same keys",
    "pytree structure": "two pytrees that must have the same structure differ",
    "pytree metadata": "two pytrees of one class differ in their metadata",
    "not callable": "something is called that is not a function",
    "static argument": "a static argument is an array or a list",
    "donated": "an array is used after it was donated",
    "callback": "a host callback raised ZeroDivisionError",
    "gradient of no scalar": "the gradient of a function that does not return a scalar",
    "derivative by integers": "the gradient by integers, which have no derivative",
    "forward mode of custom_vjp": "goes through a custom_vjp, which has none",
    "custom_vjp": "a custom_vjp is not put together as JAX expects",
    "reverse mode of a while loop": "cannot be differentiated in reverse",
    "cotangent": "is given a cotangent of another shape or dtype",
    "carry": "the carry changes its type",
    "pair of a scan": "does not return a pair",
    "condition of a while loop": "is not a boolean scalar",
    "array of conditions": "an array of conditions",
    "structures of branches": "the branches return different structures",
    "types of branches": "the branches return different shapes or dtypes",
    "index of a switch": "`lax.switch` was given an index that is not an integer",
    "axis name": "a collective names an axis that no",
    "sizes under vmap": "the mapped axes have different sizes",
    "axis of vmap": "an axis that the argument does not have",
    "in_axes": "`in_axes` does not fit",
    "nothing mapped": "`vmap` maps nothing",
    "unequal parts": "an array cannot be cut into equal parts for the devices",
    "not replicated": "`out_specs` says that every device returns the same",
    "axis of out_specs": "`out_specs` splits an axis that the result of one device does not have",
    "specs of the input": "on a mesh with explicit axes `in_specs` must be",
    "ambiguous sharding": "does not say how its result is split",
    "two shardings": "two arrays that are split in different ways",
    "axis of a sharding": "an array is to be cut along an axis that it does not have",
    "sharding of an index": "the index and what is indexed leave it open",
    "spec without a mesh": "a `PartitionSpec` alone does not say which mesh is meant",
    "two sets of devices": "arrays on different sets of devices",
    "axis of the mesh": "names an axis that the mesh does not have",
    "key as a number": "a key is used as a number",
    "no key": "not given a key as its first argument",
    "key for its words": "takes the uint32 words of keys",
    "seed for a key": "given a number where it wants a key",
    "several keys": "given several keys at once",
}
TEXTS = {text.part: name for name, texts in MESSAGES.items() for text in texts}


@pytest.mark.parametrize("text", TEXTS)
def test_what_raises_an_error_gets_its_explanation(text: str) -> None:
    """On every JAX, in whatever words this one says it."""
    failed = failure(check_values, RAISING[text], lambda x: x, [(X,)])
    assert SAYS[TEXTS[text]] in failed.diagnosis
    assert failed.got.startswith("an exception, ")


OTHER_WAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a carry of a while loop": (
        lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c + 0.5, jnp.int32(0)),
        "carry",
    ),
    "the structure of a carry": (
        lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: [c[0] + 1.0], (0.0,)),  # pyright: ignore[reportArgumentType]
        "carry",
    ),
    "a slice under vmap": (
        lambda x: jax.vmap(lambda n: jnp.asarray(x)[:n])(jnp.arange(3)),
        "slice of traced size",
    ),
    "an assignment under jit": (jax.jit(assigns), "assignment to an array"),
    "shapes in where": (lambda x: jnp.where(x > 0, x, jnp.ones(3)), "unequal shapes"),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_other_ways_to_the_same_error(way: str) -> None:
    f, name = OTHER_WAYS[way]
    assert SAYS[name] in failure(check_values, f, lambda x: x, [(X,)]).diagnosis


def test_a_former_name_of_a_parameter_leads_to_the_one_of_today() -> None:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    specs: dict[str, Any] = {"in_specs": P("data"), "out_specs": P("data"), "check_rep": False}

    def f(x):
        return jax.shard_map(jnp.sin, mesh=mesh, **specs)(x)

    failed = failure(check_values, f, lambda x: np.sin(x), [(X,)])
    assert "`check_rep` is the former name of a parameter of `jax.shard_map`" in failed.diagnosis
    assert "check_vma" in failed.next_step
    specs["check_vma"] = specs.pop("check_rep")
    check_values(f, lambda x: np.sin(x), [(X,)])


def test_a_name_that_no_parameter_has_is_said() -> None:
    failed = failure(check_values, lambda x: jnp.sum(x, axes=0), lambda x: x, [(X,)])  # pyright: ignore[reportCallIssue]
    assert "by a name that the function does not have" in failed.diagnosis
    assert "axes" in failed.diagnosis


def test_each_message_has_a_cause_and_only_one() -> None:
    assert set(BY_MESSAGE) | {"callback"} == set(MESSAGES)
    assert len({cause.diagnosis for cause in BY_MESSAGE.values()}) == len(BY_MESSAGE)


def shadowed(causes: Sequence[str], messages: dict[str, tuple[Text, ...]]) -> list[str]:
    """The texts that no message can be recognised by: each holds the text of an earlier cause."""
    return [
        later.part
        for one, other in combinations(causes, 2)
        for earlier in messages[one]
        for later in messages[other]
        if earlier.part.casefold() in later.part.casefold()
    ]


def test_no_cause_hides_a_later_one() -> None:
    assert shadowed(list(BY_MESSAGE), MESSAGES) == []


def test_a_hidden_cause_would_be_noticed() -> None:
    messages = {"short": (Text("a shape"),), "long": (Text("got A shape of"),)}
    assert shadowed(["short", "long"], messages) == ["got A shape of"]
    assert shadowed(["long", "short"], messages) == []


def test_an_unknown_message_has_no_cause() -> None:
    assert by_message(Error("ValueError", ("ValueError",), "no words of JAX's")) is None


def test_the_errors_that_are_told_by_their_type_are_jaxs() -> None:
    of_jax = [name for name in BY_TYPE if name.startswith(("Tracer", "NonConcrete", "Concret"))]
    assert len(of_jax) == 5
    for name in (*of_jax, "UnexpectedTracerError", "KeyReuseError"):
        assert issubclass(getattr(jax.errors, name), Exception)


def test_each_cause_ends_in_a_next_step() -> None:
    for cause in (*BY_TYPE.values(), *BY_MESSAGE.values()):
        assert isinstance(cause, Cause)
        assert cause.next_step[-1] in ".?"
