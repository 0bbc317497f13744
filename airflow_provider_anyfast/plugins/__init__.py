"""What this provider adds to Airflow's UI: the Videos page of a DAG run."""
