"""The Airflow face of the client: a connection becomes a way to talk to AnyFast."""
