"""AnyFast over HTTP: the application, its routing, and the shapes of its responses."""
