"""Triggers: they only poll, and resume the task when there is something to do."""
