"""Runs nbgrader's own steps from Python, with the course's configuration."""

import functools
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from nbformat.v4 import new_notebook
from nbgrader import api
from nbgrader.converters import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.dbutil import _temp_alembic_ini
from nbgrader.nbgraderformat import common
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader
from traitlets.log import get_logger

from graders.errors import CourseError


class StepFailed(CourseError):
    """A step of nbgrader did not succeed; the message is what nbgrader logged."""


def course_config(course: Path, **course_directory: Any) -> Config:
    """What nbgrader_config.py says; `course_directory` sets options of CourseDirectory."""
    config = Config(PyFileConfigLoader("nbgrader_config.py", str(course)).load_config())
    config.CourseDirectory.update(course_directory)
    return config


def run_step(
    step: type[BaseConverter], config: Config, lesson: str, student: str = "*", **options: Any
) -> str:
    """Runs one of nbgrader's converters on a lesson, and gives its log.

    Raises:
        StepFailed: the step did not succeed, for whatever reason.
    """
    with _logged() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbgrader's parts warn of each other
        try:
            directory = CourseDirectory(config=config, assignment_id=lesson, student_id=student)
            converter = step(coursedir=directory, config=config)
            for option, value in options.items():
                setattr(converter, option, value)
            converter.start()
        except KeyboardInterrupt:
            raise
        # nbgrader raises whatever its parts raise, SystemExit among them.
        except BaseException as error:
            raise StepFailed(log.getvalue() or f"{type(error).__name__}: {error}") from error
    return log.getvalue()


def run_preprocessor(
    step: type[NbGraderPreprocessor], config: Config, lesson: str, student: str
) -> None:
    """Runs one of nbgrader's preprocessors that looks at the gradebook, and at no cell.

    Raises:
        StepFailed: it did not succeed, for whatever reason.
    """
    url = config.CourseDirectory.db_url
    where = {"student": student, "assignment": lesson, "notebook": lesson, "db_url": url}
    with _logged():
        try:
            step(config=config).preprocess(new_notebook(), {"nbgrader": where})
        # A plug-in of the instructor's may raise anything.
        except Exception as error:
            raise StepFailed(f"{type(error).__name__}: {error}") from error


@contextmanager
def quick_steps() -> Iterator[None]:
    """While the block lasts, nbgrader's steps cost little.

    All Gradebooks on a database share its engine: each preprocessor of nbgrader opens one, and
    each would have SQLAlchemy compile its statements anew, which is most of what writing down a
    submission costs. The version of the tables is looked up here, where nbgrader starts a program.
    The schema of nbgrader's metadata is not itself checked again at each cell.
    """
    before = api.create_engine, api.get_alembic_version, common.jsonschema
    api.create_engine = functools.cache(api.create_engine)
    api.get_alembic_version = _version_of_the_tables
    common.jsonschema = SimpleNamespace(validate=_validate)  # type: ignore[assignment]
    try:
        yield
    finally:
        api.create_engine, api.get_alembic_version, common.jsonschema = before


def _validate(metadata: Any, schema: dict[str, Any]) -> None:
    if error := best_match(validator_for(schema)(schema).iter_errors(metadata)):
        raise error


def _version_of_the_tables() -> str:
    with _temp_alembic_ini("sqlite://") as settings:
        return str(ScriptDirectory.from_config(AlembicConfig(settings)).get_current_head())


@contextmanager
def _logged() -> Iterator[StringIO]:
    """Collects what nbgrader logs from warnings on, and keeps it from the screen."""
    text, folder = StringIO(), os.getcwd()
    logger = get_logger()
    logger = logger if isinstance(logger, logging.Logger) else logger.logger
    before = list(logger.handlers), logger.propagate, logger.level
    logger.handlers, logger.propagate = [logging.StreamHandler(text)], False  # type: ignore[assignment]
    logger.setLevel(logging.WARNING)
    try:
        yield text
    finally:
        logger.handlers, logger.propagate, level = before
        logger.setLevel(level)
        os.chdir(folder)
