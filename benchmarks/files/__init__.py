"""Large files, up and down, beside curl."""
