"""Files: what an upload is, the videos that are made, and the links that lead to both."""
