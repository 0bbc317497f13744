"""AnyFast over HTTP: requests, typed responses, and what may be sent twice. Does not import Airflow."""
