"""How much of what a student hands in is looked at."""

LARGEST = 20_000_000  # bytes of a notebook, and of any other file
LARGEST_HAND_IN = 50_000_000  # bytes of all that is collected of one hand-in
MOST_FILES = 2_000  # in a hand-in
DEEPEST = 10  # folders in folders
