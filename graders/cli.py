"""The command line: `jax-course VERB`, for students, authors and instructors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from graders.errors import CourseError
from graders.nbgrading.quick_imports import without_grammars
from graders.root import course_root

# Each verb imports its part when it runs: a student needs no grading engine, a base installation
# no JupyterLab.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit status. What a user can fix is said in a sentence."""
    without_grammars()
    arguments = _arguments(_parser(), argv)
    _prefer_own_programs()
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        return _fail(_missing(error), error)
    except (CourseError, OSError) as error:
        return _fail(str(error), error)


def _prefer_own_programs() -> None:
    """Puts this environment's programs first: nbgrader runs `alembic` by its name."""
    own = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([own, os.environ.get("PATH", "")])


def _fail(sentence: str, error: Exception) -> int:
    """Says what is wrong; with JAX_COURSE_TRACEBACK set, raises it instead."""
    if os.environ.get("JAX_COURSE_TRACEBACK"):
        raise error
    print(f"jax-course: {sentence}", file=sys.stderr)
    return 1


def _missing(error: ModuleNotFoundError) -> str:
    return (
        f"{error.name} is not installed here. With everything the course uses: "
        "pip install -r requirements.lock, or make lab"
    )


def _arguments(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments; those that only JupyterLab knows are in `options`, for `lab` alone."""
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.run is not _lab:
        parser.error(f"unknown: {' '.join(rest)}")
    arguments.options = rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    about = "A course on JAX in JupyterLab, and the pipeline that grades a class."
    parser = argparse.ArgumentParser(prog="jax-course", description=about)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    lab = verbs.add_parser("lab", help="open JupyterLab on your copy of the lessons (work/)")
    lab.add_argument("--port", type=int, help="the port to serve on; a free one if left out")
    lab.epilog = "Every other option is handed to JupyterLab: --no-browser, --ip, --allow-root ..."
    lab.set_defaults(run=_lab)

    reset = verbs.add_parser("reset", help="start a lesson afresh; your answers stay beside it")
    reset.add_argument("lesson", metavar="LESSON", help="for example 02_grad")
    reset.set_defaults(run=_reset)

    check = verbs.add_parser("check", help="run notebooks, and print what their checks find")
    check.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    check.add_argument(
        "--seconds", type=int, default=300, help="for each cell (300); then it is interrupted"
    )
    check.epilog = "The exit status is 1 if a check has not passed."
    check.set_defaults(run=_check)

    fetch = verbs.add_parser("fetch", help="fetch MNIST, where data/mnist.npz is missing")
    fetch.set_defaults(run=_fetch)

    build = verbs.add_parser("build", help="build course/ from solutions/")
    build.add_argument("lessons", nargs="*", metavar="LESSON", help="all of them if left out")
    build.add_argument("--check", action="store_true", help="change nothing; fail if it is stale")
    build.set_defaults(run=_build)

    site = verbs.add_parser("site", help="make the website of the course in build/site/")
    site.set_defaults(run=_site)

    verify = verbs.add_parser("verify", help="prove lessons by right, wrong and missing answers")
    verify.add_argument("lessons", nargs="*", metavar="LESSON", help="all of them if left out")
    form = verify.add_mutually_exclusive_group()
    form.add_argument(
        "--short", dest="form", action="store_const", const="short", help="the form for CI"
    )
    form.add_argument(
        "--long", dest="form", action="store_const", const="long", help="each answer in three ways"
    )
    verify.set_defaults(form="full", run=_verify)

    mutate = verbs.add_parser("mutate", help="make wrong answers from right ones, and check them")
    mutate.add_argument("lessons", nargs="*", metavar="LESSON", help="all of them if left out")
    mutate.add_argument(
        "--exercise",
        action="append",
        default=[],
        dest="exercises",
        metavar="NAME",
        help="only this exercise; may be given several times",
    )
    mutate.add_argument("--sample", type=int, default=0, help="so many mutants of each lesson")
    mutate.add_argument("--seed", type=int, default=0, help="of the sample")
    mutate.set_defaults(run=_mutate)

    sample = verbs.add_parser("sample-class", help="make submissions whose marks are known")
    sample.set_defaults(run=_sample_class)

    grade = verbs.add_parser("grade", help="grade what is in build/submitted/")
    grade.add_argument("lessons", nargs="*", metavar="LESSON", help="all of them if left out")
    grade.add_argument("--student", action="append", default=[], dest="students", metavar="NAME")
    grade.add_argument(
        "--expect", action="store_true", help="grade the sample class and compare its known marks"
    )
    grade.add_argument("--workers", type=int, help="submissions at a time; one a processor")
    grade.add_argument(
        "--no-sandbox",
        dest="sandboxed",
        action="store_false",
        help="run the answers with your own rights: for answers that you trust",
    )
    grade.add_argument(
        "--yes", action="store_true", help="write marks that a changed check has changed, unasked"
    )
    grade.set_defaults(run=_grade)
    return parser


def _lab(arguments: argparse.Namespace) -> int:
    from graders.lab.server import open_lab

    return open_lab(course_root(), arguments.options, arguments.port)


def _reset(arguments: argparse.Namespace) -> int:
    from graders.lab.server import start_afresh

    return start_afresh(course_root(), arguments.lesson)


def _check(arguments: argparse.Namespace) -> int:
    from graders.lab import check

    return check.main(arguments.notebooks, arguments.seconds)


def _fetch(arguments: argparse.Namespace) -> int:
    from graders.material.mnist import fetch

    print(f"MNIST is in {fetch()}")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from graders.author import build

    return build.main(arguments.lessons, arguments.check)


def _site(arguments: argparse.Namespace) -> int:
    from graders.author import site

    return site.main()


def _verify(arguments: argparse.Namespace) -> int:
    from graders.author import verify

    return verify.main(arguments.lessons, arguments.form)


def _mutate(arguments: argparse.Namespace) -> int:
    from graders.author.mutation import run

    return run.main(arguments.lessons, arguments.sample, arguments.seed, arguments.exercises)


def _sample_class(arguments: argparse.Namespace) -> int:
    from graders.sample import sample

    return sample.main(course_root())


def _grade(arguments: argparse.Namespace) -> int:
    from graders.grading import forkserver

    root = course_root()
    forkserver.start_importing(root)
    from graders.classroom import grade

    return grade.main(
        root,
        arguments.lessons,
        arguments.students,
        expect=arguments.expect,
        workers=arguments.workers,
        sandboxed=arguments.sandboxed,
        agreed=arguments.yes,
    )
