"""A file is judged here before it is paid for: what it is, and whether AnyFast takes it."""
