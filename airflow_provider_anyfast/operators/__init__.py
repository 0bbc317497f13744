"""Operators that create assets, generate videos, and ask for approval."""
