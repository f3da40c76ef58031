"""Plain data, how it is described and compared, and what JAX makes of a function."""
