"""Tasks that create assets and make videos."""
