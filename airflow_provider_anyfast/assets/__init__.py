"""Creating assets from files and URLs in AnyFast's asset library, each exactly once."""
