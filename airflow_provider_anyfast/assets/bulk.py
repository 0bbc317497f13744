"""Many files in one group: all inspected before the first creation, then created in parallel."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from airflow_provider_anyfast.assets.creation import asset_of_file
from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetFailedError,
    AssetTimeoutError,
    InvalidRequestError,
    Scope,
    WaitInterruptedError,
)
from airflow_provider_anyfast.client.responses import Outcome
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from airflow_provider_anyfast.assets.parameters import UploadMethod
    from airflow_provider_anyfast.assets.waiting import AssetProblem
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_MAX_NAMED = 20
"""Assets that one message names."""


class NamedAsset(NamedTuple):
    """The asset of a file."""

    file: str
    name: str
    id: str


@dataclass(frozen=True)
class BulkCreation:
    """Assets of many files in one group.

    Args:
        asset_type: the type that all files must have; None detects each.
        max_in_flight: files inspected, and creations in progress, at the same time.
        is_stopped: whether Airflow is ending the task.
    """

    client: AnyFastClient
    group_id: str
    asset_type: str | None
    upload: UploadMethod
    max_in_flight: int
    is_stopped: Callable[[], bool]

    def get_or_create(self, files: Sequence[str]) -> tuple[list[NamedAsset], list[str]]:
        """The assets in the order of the files, and the ids of those that may not be Active yet.

        Names come from the files' names and contents, so a retry finds what an earlier attempt created.

        Raises:
            InvalidRequestError: AnyFast would refuse some of the files, each of which is named; nothing was billed.
            AnyFastError: a creation failed; those in progress are finished first.
        """
        with creation_threads(self.max_in_flight) as pool:
            names = self._inspect_all(pool, files)
            listed = self.client.run(endpoints.list_assets(group_ids=[self.group_id]))
            usable = {asset.name: asset for asset in listed if asset.outcome is not Outcome.FAILED}
            by_name = dict(zip(names, files, strict=True))
            missing = [name for name in by_name if name not in usable]
            log.info("Existing assets: %d of %d. Creating %d.", len(by_name) - len(missing), len(by_name), len(missing))
            create = partial(
                asset_of_file,
                self.client,
                self.group_id,
                asset_type=self.asset_type,
                upload=self.upload,
                is_stopped=self.is_stopped,
            )
            created = pool.map(lambda name: create(by_name[name], name=name), missing)
            ids = {name: asset.id for name, asset in usable.items()} | dict(zip(missing, created, strict=True))
        active = {asset.id for asset in usable.values() if asset.outcome is Outcome.SUCCEEDED}
        assets = [
            NamedAsset(file.encode("utf-8", "replace").decode(), name, ids[name])  # an XCom takes only valid text
            for file, name in zip(files, names, strict=True)
        ]
        return assets, [asset_id for asset_id in dict.fromkeys(asset.id for asset in assets) if asset_id not in active]

    def _inspect_all(self, pool: ThreadPoolExecutor, files: Sequence[str]) -> list[str]:
        """The name of each file's asset; the problems of all files are raised as one error."""

        def inspect(file: str) -> tuple[str, str]:
            try:
                with file_source(file, asset_type=self.asset_type) as source:
                    return source.name, ""
            except InvalidRequestError as error:
                return "", error.what

        for file in files:
            stored_file(file, "files")  # looks up connections here, since other threads must not call Airflow
        inspected = list(pool.map(inspect, files))
        problems = [problem for _, problem in inspected if problem]
        if problems:
            raise InvalidRequestError(
                f"{len(problems)} of {counted(len(files), 'file')} cannot become assets, so none was created: "
                + " ".join(problems)
            )
        return [name for name, _ in inspected]


class CreationThreads(ThreadPoolExecutor):
    """Threads that start nothing more after an error that concerns every file.

    The thread that fails ensures this before it starts on its next file; the main thread may notice much later.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most, thread_name_prefix="anyfast")
        self._ended_by: AnyFastError | None = None

    def submit(self, do: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As the base class. After an error that concerns all files, waiting files fail with that error."""

        def unless_ended() -> T:
            if self._ended_by is not None:
                raise self._ended_by.with_context("")  # a copy, since several threads may raise it
            try:
                return do(*args, **kwargs)
            except AnyFastError as error:
                if error.scope is Scope.BATCH:
                    self._ended_by = error
                raise

        return super().submit(unless_ended)


@contextmanager
def creation_threads(most: int) -> Iterator[CreationThreads]:
    """Threads that finish their current, perhaps billed, creation after a failure; a timeout does not wait for them."""
    pool = CreationThreads(most)
    try:
        yield pool
    except Exception:
        pool.shutdown(cancel_futures=True)
        raise
    except BaseException:  # such as AirflowTaskTimeout, while threads upload files
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def conclude(
    problems: Mapping[str, AssetProblem], asset_ids: Collection[str], timeout: float, reason: str = ""
) -> None:
    """Returns if all assets are Active.

    Args:
        problems: of the assets that are not.
        asset_ids: of all.
        timeout: seconds after which the wait ended.
        reason: why the wait in the triggerer ended early, if it did.

    Raises:
        AssetFailedError: AnyFast could not use some of the files, each of which is named.
        AssetTimeoutError: some are not Active.
        WaitInterruptedError: some are not Active, and there was time left.
    """
    if failures := [problem for problem in problems.values() if isinstance(problem, AssetFailedError)]:
        raise AssetFailedError(" ".join(failure.what for failure in failures), code=failures[0].code)
    if not problems:
        return
    what = f"{len(problems)} of {counted(len(asset_ids), 'asset')} did not become Active"
    if reason:
        raise WaitInterruptedError(f"{what}: {_named([*problems])}. The wait ended early: {reason}")
    raise AssetTimeoutError(f"{what} within the timeout of {timeout:g} s: {_named([*problems])}.")


def _named(asset_ids: Sequence[str]) -> str:
    rest = len(asset_ids) - _MAX_NAMED
    return ", ".join(asset_ids[:_MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
