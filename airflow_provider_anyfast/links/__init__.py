"""Buttons on a task instance in Airflow's UI."""
