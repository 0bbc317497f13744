"""The server: minimal and fast, in a process of its own, so that only the client is measured."""
