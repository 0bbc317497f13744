"""Waits for an asset that another task has created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.failures import asset_failure
from airflow_provider_anyfast.client.responses import Asset, Outcome
from airflow_provider_anyfast.seedance.result import asset_facts
from airflow_provider_anyfast.sensors.base import JobSensor
from airflow_provider_anyfast.triggers.asset import AssetTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence


class AssetStatusSensor(JobSensor[Asset]):
    """Succeeds when the asset is Active, and fails at once if it is Failed. Not billed.

    Args:
        asset_id: the output of a ``CreateAssetOperator(wait_until_active=False)``.
        deferrable: waits in the triggerer and holds no worker.
        poke_interval: seconds between polls.
        timeout: seconds from the first poke.
        anyfast_conn_id: a connection with the key that created the asset.

    Returns:
        ``{"id", "uri", "name", "group_id", "asset_type", "status", "created_at", "updated_at", "error"}``.

    Raises:
        AssetFailedError: AnyFast could not use the file.
        AirflowSensorTimeout: it was not Active in time.
    """

    template_fields: Sequence[str] = ("asset_id", "anyfast_conn_id")
    ui_color = "#f0ffe8"

    def __init__(self, *, asset_id: str, poke_interval: float = 5.0, timeout: float = 600.0, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.asset_id = asset_id

    def trigger(self, started_at: float) -> AssetTrigger:
        """The wait for the asset."""
        return AssetTrigger(
            job_id=self.asset_id,
            anyfast_conn_id=self.anyfast_conn_id,
            started_at=started_at,
            deadline=started_at + self.timeout,
            poll_interval=self.poke_interval,
        )

    def conclude(self, job: Asset) -> dict[str, Any]:
        """The facts of the asset, or why AnyFast could not use it."""
        if job.outcome is Outcome.FAILED:
            raise asset_failure(job)
        return asset_facts(job)
