"""The billing pages of a key: the billing log, its balance, the price list."""
