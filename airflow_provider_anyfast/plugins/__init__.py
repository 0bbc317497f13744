"""What this provider adds to Airflow's UI: the page "Videos" of a DAG run."""
