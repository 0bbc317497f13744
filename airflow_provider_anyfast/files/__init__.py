"""Files where a team keeps them: downloaded whole, stored atomically, checked."""
