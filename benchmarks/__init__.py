"""Compares what this provider costs with the alternatives, in one run: ``make bench``."""
