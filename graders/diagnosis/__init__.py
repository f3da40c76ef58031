"""The usual cause of a failure, inferred from what was observed, and the next step to try."""
