"""Generations: submission, queries, and the files of their videos."""
