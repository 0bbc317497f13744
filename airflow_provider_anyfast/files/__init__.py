"""Files, local or in object storage: downloaded completely, written atomically, checked."""
