"""A local AnyFast: its HTTP interface on loopback, real videos, an account of what was billed, and faults.

Start it with ``anyfast-sandbox`` or ``python -m airflow_provider_anyfast.sandbox``; in Python, with
:func:`airflow_provider_anyfast.sandbox.server.serve_in_thread`. It needs the extra
``airflow-provider-anyfast[sandbox]`` and shares no code with the rest of the package, so that it cannot repeat a
mistake of the client.
"""
