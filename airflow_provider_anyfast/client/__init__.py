"""AnyFast over HTTP: what can be asked, what is answered, and what may be sent twice. Knows nothing of Airflow."""
