"""Sensors: tasks that wait for a job of another task."""
