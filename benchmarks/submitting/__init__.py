"""Many submissions to a server that accepts only some per second."""
