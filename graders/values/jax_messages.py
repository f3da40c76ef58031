"""The texts by which errors of JAX and XLA are recognised, each under a name of ours.

JAX promises none of them. `tests/test_jax_internals.py` raises every one for real, so that what an
upgrade changes is one list of red tests. To fix one, say at the old text which JAX had it `last`,
and add the new one with the `first` that has it. What a text is a sign of is in
`graders.diagnosis.causes` and `graders.notebook.backends`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A part of a message, whatever its case."""

    part: str
    first: str = ""  # the oldest JAX known to say so, where an older one that is allowed does not
    last: str = ""  # the newest JAX known to say so, where a newer one does not


def _texts(*parts: str) -> tuple[Text, ...]:
    return tuple(map(Text, parts))


TRIED_WITH = ("0.10.0", "0.10.2", "0.12.0")
"""The versions of JAX with which all of this was tried."""

MESSAGES: dict[str, tuple[Text, ...]] = {
    # ---- arrays and tracers ----
    "slice of traced size": (
        Text("Slice entries must be static", last="0.10.2"),
        Text("must have static start/stop/step", first="0.12.0"),
    ),
    "truth of an array": _texts("truth value of an array with more than one element is ambiguous"),
    "assignment to an array": _texts("JAX arrays are immutable"),
    "assignment to a constant": _texts("does not support item assignment"),  # Python's own
    "traced shape": _texts("Shapes must be 1D sequences of concrete values"),
    "traced parameter": _texts("was not hashable"),
    "product of unequal shapes": _texts("dot_general requires contracting dimensions"),
    "unequal shapes": _texts(
        "incompatible shapes for broadcasting", "Incompatible types for broadcasting"
    ),
    "returned no array": _texts("which is not a valid JAX type"),
    "no array": _texts(
        "is not a valid JAX type", "is not a valid JAX array type", "Error interpreting argument to"
    ),
    "keys of a dict": (
        Text("Dict key mismatch", last="0.10.0"),
        Text("<class 'dict'>\nwith metadata", first="0.10.2"),
    ),
    "pytree metadata": (
        Text("Mismatch custom node data", last="0.10.0"),
        Text("different pytree metadata", first="0.10.2"),
    ),
    "pytree structure": (
        Text("arity mismatch", last="0.10.0"),
        Text("Expected list, got", last="0.10.0"),
        Text("Expected tuple, got", last="0.10.0"),
        Text("Expected dict, got", last="0.10.0"),
        Text("pytree structure error", first="0.10.2"),
    ),
    "not callable": _texts("is not callable"),  # Python's own
    # ---- jit ----
    "static argument": _texts("Non-hashable static arguments"),
    "donated": (
        Text("Array has been deleted"),
        Text("Buffer has been deleted or donated", last="0.10.2"),
    ),
    "callback": _texts("CpuCallback error"),
    # ---- derivatives ----
    "gradient of no scalar": _texts("Gradient only defined for scalar-output functions"),
    "derivative by integers": _texts(
        "requires real- or complex-valued inputs", "requires real-valued inputs"
    ),
    "forward mode of custom_vjp": _texts("(jvp) to a custom_vjp"),
    "custom_vjp": _texts("Custom VJP", "custom_vjp function"),
    "reverse mode of a while loop": _texts(
        "Reverse-mode differentiation does not work for lax.while_loop"
    ),
    "cotangent": _texts("for argument to VJP function"),
    # ---- control flow ----
    "carry": _texts("carry input and carry output must have"),
    "pair of a scan": _texts("scan body output must be a pair"),
    "condition of a while loop": _texts("cond_fun must return a boolean scalar"),
    "array of conditions": _texts("Pred must be a scalar"),
    "structures of branches": _texts("branch outputs must have the same pytree structure"),
    "types of branches": _texts("branches must have equal output types"),
    "index of a switch": _texts("Index type must be an integer"),
    # ---- vmap ----
    "axis name": _texts("unbound axis name"),
    "sizes under vmap": _texts("vmap got inconsistent sizes"),
    "axis of vmap": _texts("vmap was requested to map its argument along axis"),
    "in_axes": _texts("vmap in_axes must be"),
    "nothing mapped": _texts("at least one non-None value in in_axes"),
    # ---- devices ----
    "unequal parts": _texts("not evenly divisible by the corresponding mesh axis sizes"),
    "not replicated": _texts("require replication which can't be statically inferred"),
    "axis of out_specs": _texts("out_specs entry which is too long"),
    "specs of the input": _texts("does not match the specs of the input"),
    "ambiguous sharding": _texts("ambiguous how the output should be sharded"),
    "two shardings": _texts("illegally sharded result"),
    "axis of a sharding": _texts("incompatible with its sharding annotation"),
    "sharding of an index": _texts("out sharding could not be resolved"),
    "spec without a mesh": _texts("not under a mesh context"),
    "two sets of devices": _texts("Received incompatible devices"),
    "axis of the mesh": _texts("is not found in mesh"),
    # ---- keys ----
    "key as a number": _texts("does not accept dtypes key"),
    "no key": _texts("unexpected PRNG key type"),
    "key for its words": _texts("expected key_data.dtype = uint32; got dtype=key<"),
    "seed for a key": _texts("invalid PRNG key data"),
    "several keys": _texts("accepts a single key"),
}
"""What is said by JAX, and by Python and NumPy of arrays that are JAX's."""

DEVICES: dict[str, tuple[str, ...]] = {
    "held by a process": (r"TPU is already in use by process with pid (\d+)",),
    "held": (
        r"libtpu.{0,80}already in use|libtpu_lockfile|libtpu multi-process lockfile",
        r"TPU initialization failed.*Device or resource busy",
    ),
    "full": (
        r"RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation",
        r"DNN library initialization failed|CUDNN_STATUS_(?:NOT_INITIALIZED|ALLOC_FAILED)",
        r"CUBLAS_STATUS_(?:NOT_INITIALIZED|ALLOC_FAILED)|cusolver\w*Create.* failed",
        r"no supported devices found for platform CUDA",
    ),
    "no cpu": (r"Unknown backend:? '?cpu\b|failed to find a local CPU device",),
    "not started": (r"Unable to initialize backend '(\w+)'",),
}
"""What JAX, libtpu and XLA for CUDA say of devices, as patterns. Most of them only a machine with
such a device says: they are as the users of such machines have reported them, of JAX 0.10.
"""


def says(message: str, name: str) -> bool:
    """Whether the message is the one of that name in `MESSAGES`."""
    message = message.casefold()
    return any(text.part.casefold() in message for text in MESSAGES[name])
