"""What ``make`` runs beside the tests: a local Airflow with a local AnyFast, to look at or to put under stress."""
