"""A student's notebook: cards are shown, progress is kept, errors about devices explained."""
