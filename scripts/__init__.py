"""What ``make`` runs besides the tests: a local Airflow with a local AnyFast, to try out or to stress."""
