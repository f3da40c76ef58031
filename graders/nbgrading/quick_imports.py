"""Leaves out a module that takes seconds to import and is not used here."""

import sys


def without_grammars() -> None:
    """From now on jsonschema does without its grammar of internationalised addresses.

    It reads it when it is imported, which takes two seconds; the schemas of notebooks and of
    nbgrader's metadata ask for no such address. Where it has been imported already, as by
    JupyterLab, nothing changes.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
