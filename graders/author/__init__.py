"""What an author uses: one file a lesson, read, linted, built and proved."""
