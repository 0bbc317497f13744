"""The client for Airflow: connects to AnyFast with an Airflow connection."""
