"""The Jupyter server extension that serves the home page at `<base address>/course`.

A Tornado handler fills a template. In JupyterLab, `Course > Home` leads to it, by the extension
in graders/lab/jupyter/labextensions. So does *Validate* to `<base address>/course/validate`.
"""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated

from graders.card import draw
from graders.lab import check, working_copy
from graders.lab.home.view import home
from graders.notebook.progress import FILE, Progress

PATH = "course"
"""Of the page, below the server's base address."""
SECONDS = 300
"""For each cell of a notebook that is validated."""
_TEMPLATES = Environment(
    loader=PackageLoader("graders.lab.home", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class HomeHandler(JupyterHandler):
    """The page, and the button on it that resets a lesson."""

    def initialize(self, course: Path, work: Path) -> None:
        self.course, self.work = course, work
        self.progress = Progress(work / FILE)

    @authenticated
    def get(self) -> None:
        """Writes the page; `?reset=LESSON` has it say that this lesson was reset."""
        reset = self.get_query_argument("reset", "")
        page = _TEMPLATES.get_template("home.html.j2").render(
            home=home(self.work, self.progress, date.today()),
            base=self.base_url,
            action=url_path_join(self.base_url, PATH),
            xsrf=self.xsrf_token.decode(),
            theme=_theme(self),
            reset=reset if reset in working_copy.lessons(self.work) else "",
        )
        self.set_header("Cache-Control", "no-store")
        self.finish(page)

    @authenticated
    def post(self) -> None:
        """Resets the lesson that the form names, and shows the page again."""
        lesson = self.get_body_argument("lesson")
        try:
            working_copy.reset(self.course, self.work, lesson)
        except working_copy.UnknownLesson as error:
            raise HTTPError(404, str(error)) from error
        except OSError as error:
            raise HTTPError(507, f"{lesson} cannot be reset: {error.strerror}.") from error
        self.progress.forget(lesson)
        self.redirect(f"{url_path_join(self.base_url, PATH)}?{urlencode({'reset': lesson})}")


class ValidateHandler(JupyterHandler):
    """The page of a notebook's checks, run in a kernel of their own."""

    def initialize(self, work: Path) -> None:
        self.work = work

    @authenticated
    async def get(self) -> None:
        """Writes the head of the page, runs `?notebook=PATH`, and writes what its checks found."""
        path = self.get_query_argument("notebook")
        file = (self.work / path).resolve()
        if not file.is_relative_to(self.work.resolve()):
            raise HTTPError(404, "There is no such notebook here.")
        self.set_header("Cache-Control", "no-store")
        self.write(
            _TEMPLATES.get_template("validate-begin.html.j2").render(
                name=file.stem, theme=_theme(self)
            )
        )
        await self.flush()
        found, problem = None, ""
        try:
            found = await asyncio.to_thread(check.checked, file, SECONDS)
        except check.CheckError as error:
            problem = str(error)
        end = _TEMPLATES.get_template("validate-end.html.j2")
        base = self.base_url
        self.finish(end.render(found=found, problem=problem, card=draw.html, base=base, path=path))


def _theme(handler: JupyterHandler) -> str:
    """The theme that `?theme=` asks for; "" leaves it to the browser."""
    asked = handler.get_query_argument("theme", "")
    return asked if asked in ("light", "dark") else ""


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "graders.lab.home"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Serves the home page of the lessons in the folder that `server` shows."""
    work = Path(server.root_dir)
    folders = {"course": work.parent / "course", "work": work}
    home = (url_path_join(server.base_url, PATH, "?"), HomeHandler, folders)
    validate = url_path_join(server.base_url, PATH, "validate"), ValidateHandler, {"work": work}
    server.web_app.add_handlers(".*$", [home, validate])
