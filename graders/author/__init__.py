"""What an author of lessons runs: lint, build and verify."""
