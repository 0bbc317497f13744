"""Apache Airflow provider for AnyFast: Seedance videos and their asset library."""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"


def get_provider_info() -> dict[str, Any]:
    """What Airflow reads of this provider; the entry point ``apache_airflow_provider``."""
    from airflow_provider_anyfast.provider_info import PROVIDER_INFO  # noqa: PLC0415 - Airflow reads it once, on demand

    return PROVIDER_INFO
