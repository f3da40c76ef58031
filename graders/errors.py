"""The base of every error that a user is shown as a sentence, without a traceback."""

from __future__ import annotations


class CourseError(Exception):
    """Something that the user can put right; the message says what is wrong and what to do.

    `jax-course` prints the message and exits with status 1. An error of any other class is a
    defect of this package, and keeps its traceback.
    """
