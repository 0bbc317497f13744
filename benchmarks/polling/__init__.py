"""Many videos that are waited for at once."""
