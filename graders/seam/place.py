"""Where a student's cells run and their answers live: a namespace that can branch."""

from __future__ import annotations

import linecache
from abc import ABC, abstractmethod
from functools import lru_cache
from types import CodeType
from typing import Any

from graders.seam.capture import quiet
from graders.seam.observation import error_facts, observe
from graders.seam.protocol import Error, Request, Result
from graders.seam.subject import LocalSubject, Subject, Unanswered


class Place(ABC):
    """Runs cells, and hands out the names that they bind as subjects."""

    @abstractmethod
    def run(self, source: str, filename: str) -> Error | None:
        """Runs one cell; gives the error that stopped it, or None."""

    @abstractmethod
    def branch(self) -> Place:
        """A place with the same names bound, whose later cells do not show in this one."""

    @abstractmethod
    def subject(self, name: str) -> Subject:
        """What is bound to `name`; an `Unanswered` where nothing is."""


class LocalPlace(Place):
    """A namespace in this very process."""

    def __init__(self, namespace: dict[str, Any] | None = None) -> None:
        fresh: dict[str, Any] = {"__name__": "__main__"}
        self.namespace = fresh if namespace is None else namespace
        self.printed = ""

    def run(self, source: str, filename: str) -> Error | None:
        with quiet() as output:
            try:
                execute(source, filename, self.namespace)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return error_facts(error)
            finally:
                self.printed = output.getvalue()
        return None

    def branch(self) -> LocalPlace:
        return LocalPlace(dict(self.namespace))

    def bind(self, names: dict[str, Any]) -> None:
        """From now on the place holds these names and no others, for the functions in it too."""
        self.namespace.clear()
        self.namespace.update(names)

    def subject(self, name: str) -> Subject:
        if name in self.namespace:
            return LocalSubject(self.namespace[name], name)
        return Unanswered(name)

    def observe(self, name: str, request: Request) -> Result:
        return observe(self.namespace[name], request)


def execute(source: str, filename: str, namespace: dict[str, Any]) -> None:
    """Runs `source` in `namespace`; its lines are known to tracebacks as `filename`."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(_compiled(source, filename), namespace)


@lru_cache(1024)  # each submission of a class is judged by the same cells
def _compiled(source: str, filename: str) -> CodeType:
    return compile(source, filename, "exec")
