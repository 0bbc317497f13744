"""When to ask AnyFast about a job: one decision core for worker, triggerer and sensor."""
