"""Creating assets from files and URLs in AnyFast's asset library, each exactly once."""

ASSET_KEY = "anyfast_asset"
"""Key of the ledger's record of a group or an asset that an operator creates."""
GROUP_KEY = "anyfast_asset_group"
"""Key of the ledger's record of a group that a task creates for the files of its videos."""
