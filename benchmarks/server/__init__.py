"""The server under test: raw and fast, in a process of its own, so that the client is what is measured."""
