"""Submissions that try to get more than they have earned, and what has to come of each.

`corpus` lists them by family, `arena` hands them in and looks at what they have done, whoever
graded them. `python -m graders.tests.attacks` grades all of them by stock nbgrader and by
`jax-course grade`, and prints what came of each beside each other.
"""
