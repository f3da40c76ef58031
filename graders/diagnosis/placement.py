"""What is wrong with where a result lies, and with what is sent between devices."""

from __future__ import annotations

from dataclasses import dataclass

from graders.card.failure import Cause


@dataclass(frozen=True)
class Layout:
    """How an array lies: on how many devices, and in how many pieces along each axis."""

    devices: int
    pieces: tuple[int, ...]

    @property
    def cut(self) -> list[int]:
        """The axes that are cut."""
        return [axis for axis, count in enumerate(self.pieces) if count > 1]


def described(layout: Layout) -> str:
    """The layout in words."""
    if layout.devices == 1:
        return "whole, on one device"
    if not layout.cut:
        return f"whole, on each of {layout.devices} devices"
    axes = " and ".join(f"axis {axis} in {layout.pieces[axis]} parts" for axis in layout.cut)
    return f"{axes}, over {layout.devices} devices"


def wrong_place(got: Layout, expected: Layout) -> Cause:
    return Cause(_wrong(got, expected), _next_step(got, expected))


def _wrong(got: Layout, expected: Layout) -> str:
    if got.devices == 1 < expected.devices:
        return "the result lies on one device alone"
    if not got.cut and expected.cut:
        return (
            "the result is replicated: every device holds all of it, where each should hold a part"
        )
    if got.cut and not expected.cut:
        return f"the result is split along {_axes(got)}, where every device should hold all of it"
    if got.cut != expected.cut:
        return f"the result is split along {_axes(got)}, instead of {_axes(expected)}"
    if got.pieces != expected.pieces:
        return f"the result is split into other parts: {described(got)}"
    return "the right parts lie on the wrong devices"


def _axes(layout: Layout) -> str:
    return " and ".join(f"axis {axis}" for axis in layout.cut)


def _next_step(got: Layout, expected: Layout) -> str:
    if got.devices == 1 < expected.devices:
        return "Put the data on the mesh first: `jax.device_put(x, NamedSharding(mesh, P(...)))`."
    if got.cut and not expected.cut:
        return "Add the parts up over the mesh axis, or ask for `P()` in `out_specs`."
    return (
        "Look at `jax.typeof(x)` or `x.sharding`, and at the `PartitionSpec` that you gave: its "
        "first entry names the mesh axis that cuts axis 0."
    )


def other_number(got: int, expected: int) -> Cause:
    return Cause(
        f"the result has {got} arrays, instead of {expected}",
        "Return the arrays in the structure that the docstring names.",
    )


def no_array(kind: str) -> Cause:
    return Cause(
        f"the result is not a JAX array, but {kind}: it is on no device",
        "Stay in `jax.numpy`: `np.asarray` brings all parts back to the host.",
    )


def unfit(shape: str) -> Cause:
    return Cause(
        f"a result of shape {shape} cannot be split as is asked",
        "Check the shape of what you return.",
    )


def lacks(kind: str, count: int, expected: int, alone: bool) -> Cause:
    """`alone` where the program has no collective of any kind."""
    had = f"{count} of {expected}" if count else "no"
    # Whether each device has its own part or all of everything, a missing exchange cannot tell.
    silent = ": the devices exchange nothing" if alone else ""
    return Cause(
        f"the program has {had} `{kind}`{silent}",
        f"Look for the place where the devices must exchange their parts ({_MADE_BY[kind]}), and "
        "whether each of them holds a part at all.",
    )


def too_many(kind: str, count: int, most: int) -> Cause:
    where = f"where {most} would do" if most else "and needs none"
    often = "once" if count == 1 else f"{count} times"
    return Cause(
        f"the program has `{kind}` {often}, {where}",
        f"Look for what asks for it: {_MADE_BY[kind]}, or a sharding that does not fit the next "
        "operation.",
    )


def too_large(kind: str, size: int) -> Cause:
    return Cause(
        f"the devices exchange too much: one `{kind}` gives each of them {size} bytes",
        "Send only what the other devices need: reduce or slice before the collective, so that "
        "its operand does not grow with the number of rows.",
    )


_MADE_BY = {
    "all-reduce": "`psum`, `pmean`, a sum over a split axis",
    "all-gather": "`all_gather`, a result that every device must hold",
    "reduce-scatter": "`psum_scatter`",
    "collective-permute": "`ppermute`",
    "all-to-all": "`all_to_all`, a change of the axis that is split",
}
