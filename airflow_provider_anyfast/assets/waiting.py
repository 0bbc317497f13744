"""The wait for new assets of one group, with one request for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.consistency import LISTS_CATCH_UP
from airflow_provider_anyfast.client.errors import (
    AssetFailedError,
    AssetNotFoundError,
    AssetTimeoutError,
    Cost,
    WaitInterruptedError,
)
from airflow_provider_anyfast.client.job_failures import asset_failure
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.responses import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_anyfast.client.responses import Asset
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.polling.schedule import Timing

log = subject_logger(__name__)

AssetProblem = AssetFailedError | AssetTimeoutError


@dataclass(frozen=True)
class GroupWait:
    """The wait for new assets of one group.

    Args:
        started_at: Unix seconds of the creation.
        timeout: seconds from ``started_at`` until the wait ends.
        is_stopped: whether Airflow is ending the task.
    """

    client: AnyFastClient
    group_id: str
    started_at: float
    timeout: float
    is_stopped: Callable[[], bool]

    def wait(self, asset_ids: Collection[str], schedule: Timing) -> dict[str, AssetProblem]:
        """Waits until no asset is pending, or for ``timeout``, and returns the same as ``problems``.

        Raises:
            WaitInterruptedError: the task was stopped, which ends the wait within a second.
            AnyFastError: AnyFast could not be queried.
        """
        deadline = self.started_at + self.timeout
        while True:
            now = clock.now()
            age = max(0.0, now - self.started_at)  # the clock may have been set back
            clock.pause(min(schedule.wait(age), deadline - now), self.is_stopped)
            if self.is_stopped():
                raise _stopped(len(asset_ids))
            problems = self.problems(asset_ids)
            pending = sum(isinstance(problem, AssetTimeoutError) for problem in problems.values())
            if not pending or clock.now() >= deadline:
                return problems
            log.info("%d of %d new assets cannot be used yet.", pending, len(asset_ids))

    def problems(self, asset_ids: Collection[str]) -> dict[str, AssetProblem]:
        """Why assets cannot be used now, by id: an ``AssetTimeoutError`` for a pending one. Active ones are left out.

        Raises:
            AnyFastError: AnyFast could not be queried.
        """
        listed = {asset.id: asset for asset in self.client.run(endpoints.list_assets(group_ids=[self.group_id]))}
        found = {asset_id: self._problem(asset_id, listed.get(asset_id)) for asset_id in asset_ids}
        return {asset_id: problem for asset_id, problem in found.items() if problem is not None}

    def _problem(self, asset_id: str, asset: Asset | None) -> AssetProblem | None:
        waited = clock.now() - self.started_at
        if asset is None and waited >= LISTS_CATCH_UP:
            try:
                asset = self.client.send(endpoints.get_asset(asset_id))
            except AssetNotFoundError:
                return AssetFailedError(
                    f"Asset {asset_id} was created, but AnyFast still does not know it after {waited:.0f} s."
                )
        if asset is None or asset.outcome is Outcome.PENDING:
            return AssetTimeoutError(f"Asset {asset_id} was not Active after {waited:.0f} s.")
        return asset_failure(asset) if asset.outcome is Outcome.FAILED else None


def _stopped(assets: int) -> WaitInterruptedError:
    return WaitInterruptedError(
        f"The task was stopped while it waited for {assets} new assets.",
        advice="The next attempt, or a clear, finds the same assets and creates none of them again.",
    ).with_context("", cost=Cost.PAID, cost_sentence="The creations of the assets are billed.")
