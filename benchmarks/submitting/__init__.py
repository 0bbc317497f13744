"""Many submissions to a server that takes only some a second."""
