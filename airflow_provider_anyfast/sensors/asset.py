"""Waits for an asset that another task created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.asset_ids import bare_asset_id
from airflow_provider_anyfast.client.job_failures import asset_failure
from airflow_provider_anyfast.client.responses import Asset, Outcome
from airflow_provider_anyfast.seedance.result import asset_facts
from airflow_provider_anyfast.sensors.base import JobSensor, SensorParameters
from airflow_provider_anyfast.triggers.asset import AssetTrigger
from airflow_provider_anyfast.values import Id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_anyfast.values import Duration, TemplatedText


class _Parameters(SensorParameters):
    asset_id: Id = ""


class AssetStatusSensor(JobSensor[Asset]):
    """Succeeds when the asset is Active, and fails at once if it is Failed. Not billed.

    Args:
        asset_id: the output of a ``CreateAssetOperator(wait_until_active=False)``, with or without ``asset://``.
        deferrable: waits in the triggerer, without holding a worker.
        poke_interval: seconds between polls, as a number, as text (``"5"``, ``"00:00:05"``) or as a ``timedelta``;
            at least 10 in mode ``reschedule``.
        timeout: seconds from the first poke, in the same forms.
        anyfast_conn_id: a connection with the key that created the asset.

    Returns:
        ``{"id", "uri", "name", "group_id", "asset_type", "status", "created_at", "updated_at", "error"}``.

    Raises:
        InvalidRequestError: a parameter is invalid; values without a template are checked while the DAG is parsed.
        AssetFailedError: AnyFast could not use the file.
        AssetNotFoundError: AnyFast does not know the id, in several responses over two minutes.
        AirflowSensorTimeout: it was not Active in time.
    """

    template_fields: Sequence[str] = ("asset_id", "anyfast_conn_id")
    ui_color = "#f0ffe8"

    parameters = _Parameters
    trigger_class = AssetTrigger

    def __init__(
        self,
        *,
        asset_id: TemplatedText,
        poke_interval: Duration = 5.0,
        timeout: Duration = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.asset_id = asset_id
        self.check_parameters()

    def job_id(self, given: _Parameters) -> str:
        """The id of the asset."""
        return bare_asset_id(given.asset_id)

    def conclude(self, job: Asset) -> dict[str, Any]:
        """The asset's result; raises if AnyFast could not use it."""
        if job.outcome is Outcome.FAILED:
            raise asset_failure(job)
        return asset_facts(job)
