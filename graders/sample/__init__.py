"""A sample class whose marks are known, made from the lessons' own right and wrong answers."""
