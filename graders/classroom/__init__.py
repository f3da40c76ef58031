"""What an instructor uses: a class graded, its marks written, each student answered."""

from graders.quick_imports import without_grammars

without_grammars()
