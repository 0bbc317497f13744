"""Getting a file or a URL into AnyFast's asset library exactly once."""
