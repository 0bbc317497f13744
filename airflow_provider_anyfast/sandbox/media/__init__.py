"""Files: the type of an upload, the rendered videos, and the links to both."""
