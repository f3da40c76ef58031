"""The pages that a student gets back: one for each lesson, and one that lists them.

`page` reads what to say from an autograded notebook, the templates say how it looks, and `cleaning`
makes harmless whatever HTML comes from a student. nbgrader writes the pages (`exporter`).
"""
