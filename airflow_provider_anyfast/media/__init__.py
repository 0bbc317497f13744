"""Checks a file before anything is billed for it: what it contains, and whether AnyFast accepts it."""
