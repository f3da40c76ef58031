"""What an instructor runs: grades a class, writes the marks, reports them."""
