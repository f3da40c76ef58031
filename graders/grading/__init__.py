"""Grades submissions: trusted checks here, untrusted answers in the sandbox.

`plan` says what of a submission has to run, `examiner` runs and judges it, `worker` and `engine` do
that with many at once, `journal` keeps what was found, and `record` hands it to nbgrader.
"""
