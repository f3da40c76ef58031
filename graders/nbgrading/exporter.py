"""The exporter that nbgrader writes feedback with: its commands, Formgrader, and `grade`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import Exporter
from nbformat import NotebookNode
from nbgrader.converters import BaseConverter
from nbgrader.coursedir import CourseDirectory

from graders.feedback.page import lesson_page


class FeedbackExporter(Exporter):
    """Turns an autograded notebook into the page that `graders.feedback.page` composes."""

    output_mimetype = "text/html"

    def _file_extension_default(self) -> str:
        return ".html"

    def from_notebook_node(  # type: ignore[override]  # nbconvert's own exporters give text too
        self, nb: NotebookNode, resources: Any | None = None, **options: Any
    ) -> tuple[str, Any]:
        """The page, and the resources with what the preprocessors have added."""
        graded, resources = super().from_notebook_node(nb, resources, **options)
        about = resources["nbgrader"]
        return lesson_page(graded, self._released(about) or graded, about), resources

    def _released(self, about: dict[str, Any]) -> NotebookNode | None:
        """The lesson as it was handed out; None where it is no longer there."""
        assert isinstance(self.parent, BaseConverter)
        directory = self.parent.coursedir
        assert isinstance(directory, CourseDirectory)
        folder = directory.format_path(directory.release_directory, ".", about["assignment"])
        path = Path(folder) / f"{about['notebook']}.ipynb"
        return _read(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache(maxsize=100)
def _read(path: Path, changed: int) -> NotebookNode:
    return nbformat.read(path, as_version=4)
