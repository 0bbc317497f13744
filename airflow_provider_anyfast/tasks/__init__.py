"""How tasks wait, and what operators do on a worker, which no DAG file has to import."""
