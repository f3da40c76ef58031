"""What an author uses: one file a lesson, read, linted, built and proved."""

from graders.quick_imports import without_grammars

without_grammars()
