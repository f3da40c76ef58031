"""Runs a lesson with its solutions, and evaluates check cells on a student's answers."""
