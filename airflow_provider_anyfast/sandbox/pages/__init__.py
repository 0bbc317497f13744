"""The sandbox's own pages: the account, and the routes that control it."""
