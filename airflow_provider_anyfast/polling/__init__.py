"""When to poll a job: one decision core for worker, triggerer and sensor."""
