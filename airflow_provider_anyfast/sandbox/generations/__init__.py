"""Videos: submitted, queried, and what they can be downloaded as."""
