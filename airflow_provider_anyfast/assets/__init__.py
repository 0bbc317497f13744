"""Getting a file or a URL into AnyFast's asset library exactly once."""

GROUP_KEY = "anyfast_asset_group"
"""The ledger's record of a group that a task creates for its files."""
