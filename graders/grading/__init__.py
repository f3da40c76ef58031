"""Grades submissions: trusted checks here, untrusted answers in the sandbox.

`plan` says what of a submission has to run, `examiner` runs and judges it.
"""
