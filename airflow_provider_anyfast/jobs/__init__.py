"""One paid generation as pure logic: when to ask, what a new attempt does, how bytes become a file."""
