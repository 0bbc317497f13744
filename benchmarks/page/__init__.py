"""The Videos page: how soon a run with thousands of videos is listed, and what many viewers cost."""
