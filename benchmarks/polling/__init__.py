"""Waiting for many videos at once."""
