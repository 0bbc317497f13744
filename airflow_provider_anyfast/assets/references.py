"""References that are files: each distinct content becomes one asset of a group, whichever task names it."""

from __future__ import annotations

import re
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.assets.bulk import creation_threads
from airflow_provider_anyfast.assets.creation import GroupCreation, asset_of_file, found_if_lost
from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.assets.waiting import GroupWait
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetFailedError,
    AssetGroupNotFoundError,
    AssetNotReadyError,
    Cost,
    InvalidRequestError,
    Scope,
)
from airflow_provider_anyfast.client.job_failures import asset_failure
from airflow_provider_anyfast.client.log import log_about, subject_logger
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.stores import GROUP_KEY, store_for
from airflow_provider_anyfast.polling.schedule import ASSET_SCHEDULE
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from airflow_provider_anyfast.client.responses import Asset
    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.seedance.request import VideoRequest

    FoundT = TypeVar("FoundT")

log = subject_logger(__name__)

_GROUP_ID = re.compile(r"group-\d{14}-\w+")
"""The format of a group's id (docs.anyfast.ai, volc-asset)."""
_LONGEST_WAIT = 600.0
"""Seconds for new assets to become Active, as in ``CreateAssetsOperator``."""
_FAILED_ADVICE = "Use another file. Or delete the asset, and clear the task: this creates a new one and pays for it."


def library_for(
    context: Mapping[str, Any],
    client: AnyFastClient,
    group: str | None,
    billed_to: str,
    *,
    is_stopped: Callable[[], bool],
    max_in_flight: int = 8,
    durable: bool = True,
) -> ReferenceLibrary | None:
    """The library of a task, which must remove the record ``GROUP_KEY`` after its success; None without a group."""
    if group is None:
        return None
    ledger = Ledger(
        store_for(context, GROUP_KEY, durable=durable),
        fingerprint=fingerprint_of({"group": group}, billed_to),
        max_tries=context["ti"].max_tries,
    )
    return ReferenceLibrary(client, group, ledger, is_stopped, max_in_flight)


@dataclass
class ReferenceLibrary:
    """The group in which files of requests become assets.

    Args:
        client: of the account that pays.
        group: its name or its id. If no group has that name, it is created, which is billed.
        ledger: records that creation.
        is_stopped: whether Airflow is ending the task.
        max_in_flight: files inspected, and creations in progress, at the same time.

    Attributes:
        found: for each file, the id of its asset, or why there is none.
    """

    client: AnyFastClient
    group: str
    ledger: Ledger
    is_stopped: Callable[[], bool]
    max_in_flight: int = 8
    found: dict[str, str | AnyFastError] = field(default_factory=dict)
    _group_id: str = ""
    _lock: Lock = field(default_factory=Lock)

    def obtain(self, files: Mapping[str, str], *, is_strict: bool, needed_by: Mapping[str, str] | None = None) -> None:
        """Finds or creates an asset for each file, one for all files of the same content. For the task's own thread.

        Every file is inspected before the first creation.

        Args:
            files: the asset type that each file must have.
            is_strict: whether a file that cannot become an asset is refused before anything is billed. Otherwise its
                error is stored in ``found``, so that rows already paid for can continue.
            needed_by: for each file, the rows that name it, for messages.

        Raises:
            InvalidRequestError: ``is_strict``, and AnyFast would refuse files, each of which is named.
            StorageError: ``is_strict``, and a storage does not respond.
            AnyFastError: an error concerns all files. The next attempt finds what was created.
        """
        connect(files)
        names, failures = self._inspect(files)
        if is_strict and failures:
            _refuse(failures, len(files), needed_by or {})
        self.found |= failures
        if names:
            self._group_id = self._group_id or self._listed_group() or self._create_group()
            self.found |= self._assets(names, files)
        if any(isinstance(found, AssetGroupNotFoundError) for found in self.found.values()):
            self.ledger.mark_closed(self._group_id)  # the group was deleted: a clear creates another

    def put_into(self, request: VideoRequest) -> VideoRequest:
        """The request as AnyFast accepts it, with asset ids in place of files. For any thread.

        A row that turns out late to need a submission may name files that were not inspected: they become assets now.

        Raises:
            AnyFastError: why one of its files has no asset.
        """
        with self._lock:
            missing = {file: kind for file, kind in request.files.items() if file not in self.found}
            if missing:
                names, failures = self._inspect(missing)
                self._group_id = self._group_id or self._listed_group()
                if not self._group_id:
                    raise AssetNotReadyError(
                        f"AnyFast lists no asset group {self.group!r}, and the row needs an asset."
                    )
                self.found |= {**failures, **self._assets(names, missing)}
        for file in request.files:
            found = self.found[file]
            if isinstance(found, AnyFastError):
                raise found.with_context("")  # a copy, since several threads may raise it
        return request.with_assets({file: str(self.found[file]) for file in request.files})

    def _listed_group(self) -> str:
        """The id of the group; empty if the list, which is free, contains none with that name."""
        if _GROUP_ID.fullmatch(self.group):
            return self.group
        found = GroupCreation(self.client, self.is_stopped).find(self.group)
        return found.id if found else ""

    def _create_group(self) -> str:
        """Creates the group, unless the ledger shows that this task has just created it and it is not listed yet."""
        creation = GroupCreation(self.client, self.is_stopped)
        return found_if_lost(lambda: creation.get_or_create(self.ledger, self.group))

    def _inspect(self, files: Mapping[str, str]) -> tuple[dict[str, str], dict[str, AnyFastError]]:
        """The name of each file's asset, or its error. Two tasks with the same content use the same name."""

        def inspect(file: str) -> str:
            with file_source(file, asset_type=files[file]) as source:
                return f"reference-{_content(source.name)}"

        return self._each(inspect, files)

    def _assets(self, names: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str | AnyFastError]:
        """The asset, or the error, of each file that AnyFast would accept. Existing assets are found by content."""
        listed = self._listed()
        file_of = {name: file for file, name in names.items()}
        known = {name: listed[_content(name)] for name in file_of if _content(name) in listed}
        missing = [name for name in file_of if name not in known]
        log.info("Reference files: %d. Different contents: %d. New assets: %d.", len(names), len(file_of), len(missing))
        created, failures = self._each(lambda name: self._create(name, file_of[name], files[file_of[name]]), missing)
        usable = {name: asset.id for name, asset in known.items() if asset.outcome is not Outcome.FAILED} | created
        pending = {asset.id for asset in known.values() if asset.outcome is Outcome.PENDING} | {*created.values()}
        wait = GroupWait(self.client, self._group_id, clock.now(), _LONGEST_WAIT, self.is_stopped)
        problems = wait.wait(pending, ASSET_SCHEDULE) if pending else {}
        found: dict[str, str | AnyFastError] = {name: problems.get(id_, id_) for name, id_ in usable.items()}
        found |= {name: _failed_before(asset) for name, asset in known.items() if name not in usable}
        found |= failures
        return {file: found[name] for file, name in names.items()}

    def _listed(self) -> dict[str, Asset]:
        """The assets of the group by content; a usable one takes precedence over a failed one."""
        assets = self.client.run(endpoints.list_assets(group_ids=[self._group_id]))
        return {
            _content(asset.name): asset
            for asset in sorted(assets, key=lambda asset: asset.outcome is not Outcome.FAILED)
        }

    def _create(self, name: str, file: str, asset_type: str) -> str:
        with log_about(PurePosixPath(file).name):
            return asset_of_file(
                self.client, self._group_id, file, name=name, asset_type=asset_type, is_stopped=self.is_stopped
            )

    def _each(
        self, do: Callable[[str], FoundT], given: Iterable[str]
    ) -> tuple[dict[str, FoundT], dict[str, AnyFastError]]:
        """The result for each, or its error. Raises an error that concerns all of them."""
        found: dict[str, FoundT] = {}
        failures: dict[str, AnyFastError] = {}
        with creation_threads(self.max_in_flight) as pool:
            for each, future in [(each, pool.submit(copy_context().run, do, each)) for each in given]:
                try:
                    found[each] = future.result()
                except AnyFastError as error:
                    if error.scope is Scope.BATCH:
                        raise
                    failures[each] = error
        return found, failures


def connect(files: Iterable[str]) -> None:
    """Looks up the connections of files, since only the task's own thread may call Airflow."""
    for file in files:
        with suppress(AnyFastError):  # raised again when the file is inspected
            stored_file(file, "reference")


def _content(name: str) -> str:
    """The digest at the end of an asset's name, including names by ``CreateAssetsOperator``."""
    return name.rpartition("-")[2]


def _refuse(failures: Mapping[str, AnyFastError], files: int, needed_by: Mapping[str, str]) -> None:
    refused = [
        f"{error.what} Needed by {needed_by[file]}." if file in needed_by else error.what
        for file, error in failures.items()
        if isinstance(error, InvalidRequestError)
    ]
    if not refused:
        raise next(iter(failures.values()))
    raise InvalidRequestError(
        f"{len(refused)} of {counted(files, 'reference')} cannot become assets, so nothing was created or submitted: "
        + " ".join(refused),
        advice="Correct the files or the table, and clear the task.",
    )


def _failed_before(asset: Asset) -> AssetFailedError:
    """The error for a file that AnyFast refused before: it would refuse it again, so no run pays for another try."""
    error = asset_failure(asset)
    what = f"{error.what} That happened in an earlier attempt or run."
    return AssetFailedError(what, cost=Cost.NOTHING, advice=_FAILED_ADVICE, code=error.code)
