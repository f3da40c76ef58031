"""What an instructor uses: a class graded, its marks written, each student answered."""
