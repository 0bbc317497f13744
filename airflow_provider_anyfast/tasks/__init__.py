"""How tasks wait, and what the operators of videos do on a worker, which no DAG file has to import."""
