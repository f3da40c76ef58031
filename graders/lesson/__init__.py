"""Reads a lesson: its cells, markers and regions, the names its code uses, every problem."""
