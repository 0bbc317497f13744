"""What the operators that create groups and assets do on a worker."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.assets.bulk import BulkCreation, conclude
from airflow_provider_anyfast.assets.creation import AssetCreation, GroupCreation
from airflow_provider_anyfast.assets.parameters import AssetParameters, BulkParameters, GroupParameters, WaitParameters
from airflow_provider_anyfast.assets.source import AssetSource, file_source, url_source
from airflow_provider_anyfast.assets.waiting import GroupWait
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.consistency import LISTS_CATCH_UP
from airflow_provider_anyfast.client.errors import AssetNotFoundError, Cost
from airflow_provider_anyfast.client.job_failures import asset_failure
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.files.paths import files_in
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of, formerly_billed_to
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.stores import ASSET_KEY, store_for
from airflow_provider_anyfast.parameters import read
from airflow_provider_anyfast.tasks.waiting import JobWait
from airflow_provider_anyfast.triggers.asset import AssetsTrigger, AssetTrigger
from airflow_provider_anyfast.xcoms import own_xcom

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.responses import Asset
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.deferral import DeferrableJobMixin, StoppableOperator
    from airflow_provider_anyfast.hooks.anyfast import AnyFastHook


def create_group(operator: StoppableOperator, given: GroupParameters, context: Context) -> str:
    """Looks for the group, and creates it if there is none."""
    ledger = _ledger(operator.hook, context, {"group": given.name})
    with operator.hook.get_conn() as client:
        creation = GroupCreation(client, lambda: operator.stopped, given.if_exists)
        return creation.get_or_create(ledger, given.name)


@dataclass
class CreateAssetTask:
    """One attempt of a ``CreateAssetOperator``, or one part of it before or after a deferral."""

    operator: DeferrableJobMixin
    context: Context

    def run(self) -> str:
        """Looks for the asset, creates it if there is none, and waits until it can be used."""
        given = read(self.operator, AssetParameters)
        with self.operator.hook.get_conn() as client:
            with _source_of(given) as source:
                identity = {"group": given.group_id, "name": source.name}
                ledger = _ledger(self.operator.hook, self.context, identity)
                creation = AssetCreation(client, given.group_id, lambda: self.operator.stopped, given.if_exists)
                asset_id, is_active = creation.get_or_create(ledger, source)
            self.context["ti"].xcom_push("asset_id", asset_id)
            if given.wait_until_active and not is_active:
                trigger = self._trigger(given, asset_id, clock.now())
                with _closed_if_unknown(ledger, trigger):
                    _conclude(JobWait(self.operator).wait(client, trigger), ledger)
        return asset_id

    def resume(self, event: Mapping[str, Any]) -> str:
        """Continues after a deferral: polls AnyFast once more."""
        asset_id = event.get("job_id") or own_xcom(self.context, "asset_id")
        ledger = _ledger(self.operator.hook, self.context, {})
        started_at = float(event.get("started_at") or ledger.submitted_at(asset_id) or clock.now())
        trigger = self._trigger(read(self.operator, WaitParameters), asset_id, started_at)
        with self.operator.hook.get_conn() as client, _closed_if_unknown(ledger, trigger):
            _conclude(JobWait(self.operator).resume(client, trigger, event), ledger)
        return str(asset_id)

    def _trigger(self, given: WaitParameters, asset_id: str, created_at: float) -> AssetTrigger:
        return AssetTrigger(
            job_id=asset_id,
            anyfast_conn_id=self.operator.anyfast_conn_id,
            started_at=created_at,
            deadline=max(created_at, clock.now()) + given.timeout,
            poll_interval=given.poll_interval,
        )


@dataclass
class CreateAssetsTask:
    """One attempt of a ``CreateAssetsOperator``, or one part of it before or after a deferral."""

    operator: DeferrableJobMixin
    context: Context

    @cached_property
    def _given(self) -> BulkParameters:
        return read(self.operator, BulkParameters)

    def run(self) -> list[str]:
        """Checks every file, creates the missing assets, and waits until all can be used."""
        given, ti = self._given, self.context["ti"]
        files = files_in(given.files) if isinstance(given.files, str) else given.files
        with self.operator.hook.get_conn() as client:
            creation = BulkCreation(
                client,
                given.group_id,
                given.asset_type,
                given.upload,
                given.max_in_flight,
                lambda: self.operator.stopped,
            )
            assets, pending = creation.get_or_create(files)
            asset_ids = [asset.id for asset in assets]
            created_at = clock.now()
            ti.xcom_push("asset_ids", asset_ids)
            ti.xcom_push("assets", [asset._asdict() for asset in assets])
            ti.xcom_push("assets_created_at", created_at)
            if given.wait_until_active and pending:
                if self.operator.deferrable:
                    self.operator.defer_until(self._trigger(pending, created_at))
                timing = AssetTrigger.timing_for(self.operator.anyfast_conn_id, "", given.poll_interval)
                problems = self._group_wait(client, created_at).wait(pending, timing)
                conclude(problems, pending, given.timeout)
        return asset_ids

    def resume(self, event: Mapping[str, Any]) -> list[str]:
        """Continues after a deferral: asks AnyFast once more for all assets."""
        asset_ids = list(own_xcom(self.context, "asset_ids"))
        different = list(dict.fromkeys(asset_ids))
        created_at = float(own_xcom(self.context, "assets_created_at") or 0.0)
        with self.operator.hook.get_conn() as client:
            problems = self._group_wait(client, created_at).problems(different)
        conclude(problems, different, self._given.timeout, event.get("reason", ""))
        return asset_ids

    def _trigger(self, asset_ids: Sequence[str], created_at: float) -> AssetsTrigger:
        return AssetsTrigger(
            jobs=[(asset_id, created_at, created_at + self._given.timeout) for asset_id in asset_ids],
            anyfast_conn_id=self.operator.anyfast_conn_id,
            poll_interval=self._given.poll_interval,
        )

    def _group_wait(self, client: AnyFastClient, created_at: float) -> GroupWait:
        given = self._given
        return GroupWait(client, given.group_id, created_at, given.timeout, lambda: self.operator.stopped)


def _source_of(given: AssetParameters) -> AbstractContextManager[AssetSource]:
    """The inspected source of the asset."""
    if given.file is not None:
        return file_source(given.file, name=given.name, asset_type=given.asset_type, upload=given.upload)
    return nullcontext(url_source(given.url or "", name=given.name, asset_type=given.asset_type))


def _ledger(hook: AnyFastHook, context: Context, identity: dict[str, str]) -> Ledger:
    return Ledger(
        store_for(context, ASSET_KEY),
        fingerprint=fingerprint_of(identity, hook.anyfast_conn_id),
        former_fingerprints=[
            fingerprint_of(identity, formerly_billed_to(hook.anyfast_conn_id, hook.settings.base_url))
        ],
        max_tries=context["ti"].max_tries,
    )


@contextmanager
def _closed_if_unknown(ledger: Ledger, trigger: AssetTrigger) -> Iterator[None]:
    """Closes the record of an asset that AnyFast should list by now and does not, so that a clear creates a new one."""
    try:
        yield
    except AssetNotFoundError as error:
        if clock.now() - trigger.started_at <= LISTS_CATCH_UP:
            raise
        ledger.mark_closed(trigger.job_id)
        raise AssetNotFoundError(
            f"Asset {trigger.job_id} was created and billed, and AnyFast does not know it (request id "
            f"{error.request_id or 'none'}): it could not use the file, or the asset was deleted, or belongs to "
            "another key than the connection's.",
            cost=Cost.PAID,
            advice="Clear the task to look for an asset of this name and, if there is none, to create, and pay for, a "
            "new one. If upload='multipart' gave the id, use 'data_uri' or a URL.",
            status=error.status,
            code=error.code,
            request_id=error.request_id,
        ) from error


def _conclude(asset: Asset, ledger: Ledger) -> None:
    if asset.outcome is Outcome.FAILED:
        ledger.mark_closed(asset.id)
        raise asset_failure(asset)
