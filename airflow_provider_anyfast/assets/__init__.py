"""Creating assets from files and URLs in AnyFast's asset library, each exactly once."""

GROUP_KEY = "anyfast_asset_group"
"""Key of the ledger's record of a group that a task creates for its files."""
