"""Confirms what a student's process says about the structure of an answer.

All that a process says of itself may be forged: its jaxpr, its collectives.
So the answer is asked for its program (`jax.export`), and another process, in which nothing of the
student's has run, reads that program, and runs it if it is not the solution's own. The claim holds
if the program has the structure that was claimed (`graders.grading.structure`) and computes what
the author's solution computes, at other inputs than it was made for: then the student has such a
program. Where `jax.export` cannot carry the solution, the claim is not confirmed, and counts beside
values. How often a body is traced, which memory is
reused, where arrays lie and purity are always claims.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from graders.grading.structure import Structure
from graders.judging.lesson_run import LessonRun
from graders.probes.exports import ExportedProgram, array_leaves, contents, exported
from graders.probes.placement import Collective, collectives
from graders.probes.primitives import program
from graders.seam.protocol import Request, Result, Step
from graders.seam.remote import RemotePlace, RemoteSubject, StudentProcess, dumps
from graders.seam.subject import LocalSubject, Subject
from graders.values.plain import Leaf, is_key, leaves

STRUCTURAL = (program.__name__, collectives.__name__)
"""The probes whose answers a program can confirm."""


MOVED = 0.05
"""By this part of itself a number is another one where programs are compared: see `_moved`."""


class Processes(Protocol):
    """Where clean processes come from."""

    def new_process(self) -> StudentProcess:
        """A process in which nothing has run."""
        ...


@dataclass(frozen=True)
class Reference:
    """What the solution's program computes; no outputs where right answers may differ in them."""

    outputs: list[Any] | None
    digest: str = ""  # of the program's text


@dataclass(frozen=True)
class Claim:
    """What a student's process has said of the structure of an answer."""

    name: str
    request: Request
    value: Any


class References:
    """What the author's solutions compute at the observations that a program can confirm."""

    def __init__(self, lesson_run: LessonRun) -> None:
        """`lesson_run` is the lesson as it ran in this process."""
        self.solutions = {
            name: lesson_run.namespaces[check.index].get(name)
            for check in lesson_run.lesson.checks
            for name in lesson_run.lesson.exercises[str(check.check)].binds
        }
        self.known: dict[bytes, Reference | None] = {}

    def of(self, name: str, request: Request) -> Reference | None:
        """What the solution's program computes; None where it has none."""
        key = hashlib.sha256(dumps((name, request))).digest()
        if key not in self.known:
            self.known[key] = self._found(name, request)
        return self.known[key]

    def _found(self, name: str, request: Request) -> Reference | None:
        solution: Subject = LocalSubject(self.solutions.get(name), name, request.steps)
        content, arrays = solution.send(_export_of(request)).value, _moved(_arrays(request))
        if content is None:
            return None
        if any(map(is_key, arrays)):  # other right answers may draw other numbers
            return Reference(None)
        carried = ExportedProgram(content)
        outputs = LocalSubject(carried, name).call(*arrays)
        if outputs.error:
            return None
        return Reference(_numbers(outputs.value), contents(carried).digest)


class Confirmer:
    """Compares what one submission claims with its programs, which run in a clean process."""

    def __init__(self, references: References, processes: Processes) -> None:
        self.references, self.processes = references, processes
        self.clean: StudentProcess | None = None

    def hold(self, claims: Sequence[Claim], place: RemotePlace) -> bool:
        """Whether the answers in `place` export programs that have what is claimed of them.

        A program that has not ends the process that ran it: nothing of it is left for the next.
        """
        known: dict[tuple, Structure] = {}
        for claim in claims:
            steps = claim.request.steps
            same = known.setdefault((claim.name, len(steps), *map(id, steps)), Structure())
            sent = RemoteSubject(place, claim.name, steps).send(_export_of(claim.request)).value
            if not self._holds(claim, sent if type(sent) is bytes else b"", same):
                self.close()
                return False
        return True

    def _holds(self, claim: Claim, content: bytes, structure: Structure) -> bool:
        reference = self.references.of(claim.name, claim.request)
        if reference is None:
            return True
        carried, arrays = self._loaded(content), _arrays(claim.request)
        if carried is None:
            return False
        found = carried.observe(contents)
        if found.error:
            return False
        largest = max((np.size(array) for array in arrays if not is_key(array)), default=0)
        is_structure = claim.request.probe == program.__name__
        if is_structure and not structure.agrees(claim.value, found.value, largest):
            return False  # before it is run: a program that is refused does nothing here
        if reference.outputs is not None and found.value.digest != reference.digest:
            outputs = carried.call(*_moved(arrays))
            if outputs.error or not _alike(_numbers(outputs.value), reference.outputs):
                return False
        if is_structure:
            return True
        return _sorted(carried.observe(collectives, *arrays).value) == _sorted(claim.value)

    def close(self) -> None:
        """Ends the clean process."""
        if self.clean is not None:
            self.clean.kill()
            self.clean = None

    def _loaded(self, content: bytes) -> Subject | None:
        """The program in a process in which no code of the student's has run."""
        if self.clean is None or self.clean.over:
            self.clean = self.processes.new_process()
        number = self.clean.ask("load", content, len(jax.devices()))
        return RemotePlace(self.clean, number).subject("program") if type(number) is int else None


def _sorted(found: list[Collective] | None) -> list[tuple[str, int]]:
    return sorted((one.kind, one.bytes) for one in found or ())


def _arrays(request: Request) -> list[Any]:
    every = jax.tree.leaves(request.args)
    return [every[i] for i in array_leaves(request.args, request.options.get("static_argnums", ()))]


def _moved(arrays: Sequence[Any]) -> list[Any]:
    """Arrays near these, the same each time: a program may know the numbers that it was made for.

    Floats are scaled, each by another number. What stays is integers, and masks of zeros and ones.
    """
    generator = np.random.default_rng(0)
    return [_scaled(array, generator) if _is_scaled(array) else array for array in arrays]


def _is_scaled(array: Any) -> bool:
    if is_key(array) or not jnp.issubdtype(np.asarray(array).dtype, np.floating):
        return False
    data = np.asarray(array, np.float64)
    return not np.isin(data, (0, 1)).all() or bool(data.all())


def _scaled(array: Any, generator: np.random.Generator) -> Any:
    data = np.asarray(array)
    factors = generator.uniform(1 - MOVED, 1 + MOVED, data.shape)
    scaled = np.asarray(data.astype(np.float64) * factors, data.dtype)
    return jax.device_put(scaled, array.sharding) if isinstance(array, jax.Array) else scaled


def _numbers(outputs: Any) -> list[Any]:
    return [leaf.data if isinstance(leaf, Leaf) else leaf for _, leaf in leaves(outputs)]


def _alike(found: Sequence[Any], meant: Sequence[Any]) -> bool:
    return len(found) == len(meant) and all(map(_close, found, meant))


def _close(found: Any, meant: Any) -> bool:
    if not isinstance(found, np.ndarray) or not isinstance(meant, np.ndarray):
        return type(found) is type(meant)
    if found.shape != meant.shape:
        return False
    found, meant = (np.asarray(one, np.complex128) for one in (found, meant))
    scale = np.max(np.abs(meant[np.isfinite(meant)]), initial=1e-3)
    return bool(np.allclose(found, meant, rtol=1e-2, atol=1e-3 * scale, equal_nan=True))


class ClaimedPlace(RemotePlace):
    """A namespace in a worker that keeps what is claimed about the structure of its answers."""

    def __init__(self, process: StudentProcess) -> None:
        super().__init__(process)
        self.claims: list[Claim] = []

    def subject(self, name: str) -> Subject:
        found = super().subject(name)
        return _Claiming(self, name) if isinstance(found, RemoteSubject) else found

    def taken(self) -> list[Claim]:
        """The claims since this was asked last."""
        claims, self.claims = self.claims, []
        return claims


class _Claiming(RemoteSubject):
    """An answer whose claims are kept by its place."""

    place: ClaimedPlace

    def send(self, request: Request) -> Result:
        result = super().send(request)
        if request.probe in STRUCTURAL and not result.error:
            self.place.claims.append(Claim(self.name, request, result.value))
        return result

    def extended(self, step: Step) -> _Claiming:
        return _Claiming(self.place, self.name, (*self.steps, step))


def _export_of(request: Request) -> Request:
    static = request.options.get("static_argnums", ())
    return replace(request, probe=exported.__name__, options={"static_argnums": static})
