"""A file is judged here before it is billed: what it is, and whether AnyFast accepts it."""
