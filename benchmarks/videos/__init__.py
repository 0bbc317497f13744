"""Whole videos on a real Airflow: scheduler, triggerer, API server and workers, against the sandbox."""
