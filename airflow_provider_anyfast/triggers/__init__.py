"""Waiting in the triggerer: triggers only read, and wake the worker when there is something to do."""
