"""The checks, one family a module; each name reads as the requirement."""
