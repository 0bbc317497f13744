"""The asset library: groups, assets, and the real-person check."""
