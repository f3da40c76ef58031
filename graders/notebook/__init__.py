"""A student's notebook: cards are shown, progress is kept, programs and
caches are displayed, errors about devices explained.
"""
