"""What a key can read about its own past: the billing log, its balance, the price list."""
