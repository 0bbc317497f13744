"""Faults: what can be made to fail, and how the client sees it."""

from airflow_provider_anyfast.sandbox.faults.fault import Fault
from airflow_provider_anyfast.sandbox.faults.kinds import CALLS, FAULT_KINDS
from airflow_provider_anyfast.sandbox.faults.registry import FaultRegistry

__all__ = ["CALLS", "FAULT_KINDS", "Fault", "FaultRegistry"]
