"""Waiting as a task of its own."""
