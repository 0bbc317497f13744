"""Filling and reading the asset library: groups, and the images, videos and audio in them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperator

from airflow_provider_anyfast.assets.creation import (
    AssetCreation,
    AssetSource,
    IfAssetExists,
    UploadWay,
    check_asset_type,
    check_choice,
    check_group_id,
    checked_name,
    file_source,
    url_source,
    wait_until_listed,
)
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import (
    AssetFailedError,
    AssetNotFoundError,
    InvalidRequestError,
    LostAnswerError,
)
from airflow_provider_anyfast.client.failures import asset_failure
from airflow_provider_anyfast.client.responses import Asset, AssetGroup, Outcome
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.files.storage import files_in, stored_file
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.purchase import submit_once
from airflow_provider_anyfast.ledger.record import Attach, Ledger, Unconfirmed, fingerprint_of
from airflow_provider_anyfast.ledger.stores import MemoryStore, after_success, store_for
from airflow_provider_anyfast.polling.poller import NOT_FOUND_GRACE
from airflow_provider_anyfast.seedance.result import asset_facts
from airflow_provider_anyfast.triggers.asset import AssetsTrigger, AssetTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.files.storage import Place

ItemT = TypeVar("ItemT", Asset, AssetGroup)
IfGroupExists = Literal["reuse", "fail", "create"]

LEDGER_KEY = "anyfast_asset"
CLOCK_SKEW = 120.0
"""Seconds by which AnyFast's clock and this one may differ."""


class CreateAssetGroupOperator(BaseOperator):
    """Creates an asset group, or finds the one of that name. Creating is billed, finding is free.

    Args:
        name: of the group, at most 64 characters. AnyFast allows several groups of one name: tasks that create it at
            the same moment pay for one each, and all use the oldest. Let one task create it, and hand its id on.
        if_exists: ``reuse`` the oldest group of exactly that name, ``fail``, or ``create`` one more.
        anyfast_conn_id: the connection; groups belong to its key.

    Returns:
        The group's id.
    """

    template_fields: Sequence[str] = ("name", "if_exists", "anyfast_conn_id")
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        name: str,
        if_exists: IfGroupExists = "reuse",
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.if_exists = if_exists
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(LEDGER_KEY, "return_value")]

    def execute(self, context: Context) -> str:
        """Looks for the group, and creates it where there is none."""
        with fail_fast(context, self.anyfast_conn_id):
            name = checked_name(self.name)
            check_choice("if_exists", self.if_exists, IfGroupExists)
            hook = AnyFastHook(self.anyfast_conn_id)
            ledger = _ledger(context, {"group": name}, self.anyfast_conn_id, hook.settings.base_url)
            plan = ledger.plan()
            if isinstance(plan, Attach):
                self.log.info("Group %s was created by an earlier attempt.", plan.id)
                return plan.id
            with hook.get_conn() as client:
                group = self._find(client, name, plan.at if isinstance(plan, Unconfirmed) else None)
                if group is not None:
                    ledger.record_submitted(group.id)
                    group_id = group.id
                else:
                    group_id = self._create(client, ledger, name)
            return group_id

    def _create(self, client: AnyFastClient, ledger: Ledger, name: str) -> str:
        """Creates the group, and looks once more: another task may have created one of this name at the same moment."""
        self.log.info("Creating the asset group %r, which is billed.", name)
        group_id = submit_once(ledger, lambda: client.send(endpoints.create_asset_group(name)))
        oldest = self._find(client, name, None) if self.if_exists == "reuse" else None
        if oldest is None or oldest.id == group_id:
            return group_id
        ledger.record_submitted(oldest.id)
        self.log.warning("Another task has created a group %r at the same moment: %s stays empty.", name, group_id)
        return oldest.id

    def _find(self, client: AnyFastClient, name: str, lost_at: float | None) -> AssetGroup | None:
        if lost_at is None and self.if_exists == "create":
            return None
        if lost_at is not None:
            wait_until_listed(lost_at)
        groups = [group for group in client.run(endpoints.list_asset_groups(name=name)) if group.plain_name == name]
        if lost_at is not None and self.if_exists != "reuse":
            groups = [group for group in groups if group.created >= lost_at - CLOCK_SKEW]
        elif groups and self.if_exists == "fail":
            raise InvalidRequestError(f"There is a group named {name!r} already: {groups[0].id}. Nothing was spent.")
        if not groups:
            return None
        oldest = min(groups, key=lambda group: (group.created_at, group.id))
        if len(groups) > 1:
            self.log.warning("%d groups are named %r; the oldest is used: %s.", len(groups), name, oldest.id)
        return oldest


class CreateAssetOperator(DeferrableJobMixin):
    """Puts an image, a video or an audio file into a group, once. Creating is billed, finding is free.

    Names are unique in a group, and a name that is not given comes from the content: the same content in the same
    group is never paid for twice.

    Args:
        group_id: the group, as ``CreateAssetGroupOperator`` returns it.
        url: a public URL, a data URI, or raw Base64 of a PNG; or
        file: a local file or any ``ObjectStoragePath`` (``s3://conn@bucket/key``), whose type is read from its content.
        name: unique in the group; None takes one from the file's name and its content.
        asset_type: ``Image``, ``Video`` or ``Audio``; None finds it out.
        upload: how a file is sent: ``data_uri``, ``multipart``, or ``auto``, which takes the first for images.
        if_exists: ``reuse`` the asset of that name, or ``fail``. One that has failed is deleted, and created anew.
        wait_until_active: whether to wait until AnyFast has processed the file, which takes 6 to 20 seconds.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None follows the asset.
        timeout: seconds from the creation after which the task fails.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The asset's id, which every reference of ``GenerateVideoOperator`` takes.

    Raises:
        InvalidRequestError: AnyFast would refuse the file; nothing was spent.
        StorageError: the storage of the file did not answer; nothing was spent.
        AssetFailedError: AnyFast could not use the file; the creation was billed.
        AssetNotFoundError: AnyFast does not know the asset that it created and billed; a clear creates it anew.
        AssetTimeoutError: it was not Active in time; a retry finds it again.
    """

    template_fields: Sequence[str] = (
        "group_id",
        "url",
        "file",
        "name",
        "asset_type",
        "upload",
        "if_exists",
        "anyfast_conn_id",
    )
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        group_id: str,
        url: str | None = None,
        file: Place | None = None,
        name: str | None = None,
        asset_type: str | None = None,
        upload: UploadWay = "auto",
        if_exists: IfAssetExists = "reuse",
        wait_until_active: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = 600.0,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.url = url
        self.file = file
        self.name = name
        self.asset_type = asset_type
        self.upload = upload
        self.if_exists = if_exists
        self.wait_until_active = wait_until_active
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(LEDGER_KEY, "return_value")]

    def execute(self, context: Context) -> str:
        """Looks for the asset, creates it where there is none, and waits until it can be used."""
        with fail_fast(context, self.anyfast_conn_id):
            self._check()
            hook = AnyFastHook(self.anyfast_conn_id)
            with hook.get_conn() as client:
                with self._source() as source:
                    identity = {"group": self.group_id, "name": source.name}
                    ledger = _ledger(context, identity, self.anyfast_conn_id, hook.settings.base_url)
                    asset_id, active = AssetCreation(client, self.group_id, self.if_exists).obtain(ledger, source)
                context["ti"].xcom_push("asset_id", asset_id)
                if self.wait_until_active and not active:
                    trigger = self._trigger(asset_id, clock.now())
                    with self._given_up_if_unknown(ledger, trigger):
                        asset = self.wait(client, trigger)
                    self._conclude(asset, ledger)
            return asset_id

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Goes on after the deferral: AnyFast is asked once more."""
        with fail_fast(context, self.anyfast_conn_id):
            event = event or {}
            ti = context["ti"]
            asset_id = event.get("job_id") or ti.xcom_pull(
                task_ids=self.task_id, key="asset_id", map_indexes=ti.map_index
            )
            trigger = self._trigger(asset_id, float(event.get("started_at") or clock.now()))
            ledger = _ledger(context, {}, self.anyfast_conn_id)
            with AnyFastHook(self.anyfast_conn_id).get_conn() as client:
                with self._given_up_if_unknown(ledger, trigger):
                    asset = self.resume(client, trigger, event.get("reason", ""))
                self._conclude(asset, ledger)
            return str(asset_id)

    def _check(self) -> None:
        check_choice("if_exists", self.if_exists, IfAssetExists)
        check_choice("upload", self.upload, UploadWay)
        check_group_id(self.group_id)
        check_asset_type(self.asset_type)
        if bool(self.url) == bool(self.file):
            raise InvalidRequestError("Give either url or file, and not both.")

    def _source(self) -> AbstractContextManager[AssetSource]:
        if self.file:
            return file_source(self.file, name=self.name, asset_type=self.asset_type, upload=self.upload)
        return nullcontext(url_source(self.url or "", name=self.name, asset_type=self.asset_type))

    def _trigger(self, asset_id: str, created_at: float) -> AssetTrigger:
        return AssetTrigger(
            job_id=asset_id,
            anyfast_conn_id=self.anyfast_conn_id,
            started_at=created_at,
            deadline=max(created_at, clock.now()) + self.timeout,
            poll_interval=self.poll_interval,
        )

    @contextmanager
    def _given_up_if_unknown(self, ledger: Ledger, trigger: AssetTrigger) -> Iterator[None]:
        """Lets a clear create an asset anew whose id AnyFast still does not know when it should, or no longer knows."""
        try:
            yield
        except AssetNotFoundError as error:
            if clock.now() - trigger.started_at <= NOT_FOUND_GRACE:
                raise
            ledger.mark_closed(trigger.job_id)
            raise AssetNotFoundError(
                f"Asset {trigger.job_id} was created and billed, and AnyFast does not know it (request id "
                f"{error.request_id or 'none'}): it could not use the file, or the asset was deleted, or belongs to "
                "another key than the connection's. Clear the task to look for an asset of this name and, if there is "
                "none, to create, and pay for, a new one. If upload='multipart' gave the id, use 'data_uri' or a URL.",
                status=error.status,
                code=error.code,
                request_id=error.request_id,
            ) from error

    def _conclude(self, asset: Asset, ledger: Ledger) -> None:
        if asset.outcome is Outcome.FAILED:
            ledger.mark_closed(asset.id)
            raise asset_failure(asset)


class CreateAssetsOperator(DeferrableJobMixin):
    """Puts many files into a group, each once. Each creation is billed, finding is free.

    Every file is looked at before the first creation. Names come from the files' names and contents, so a retry finds
    what an earlier attempt created, and pays only for the rest.

    Args:
        group_id: the group, as ``CreateAssetGroupOperator`` returns it.
        files: a folder, a pattern such as ``s3://conn@bucket/pictures/*.png``, or a list of files.
        asset_type: ``Image``, ``Video`` or ``Audio``, if all must be of one type; None finds each out.
        upload: how files are sent: ``data_uri``, ``multipart``, or ``auto``, which takes the first for images.
        wait_until_active: whether to wait until AnyFast has processed all files.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None follows the assets.
        timeout: seconds from the creation after which the task fails.
        max_in_flight: files that are looked at, and creations that are under way, at the same time. Each holds one
            image in memory at most; other files are streamed.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The assets' ids as a list, in the order of the files (a folder's are sorted by name).

    Raises:
        InvalidRequestError: AnyFast would refuse some of the files, each of which is named; nothing was spent.
        AssetFailedError: AnyFast could not use some of the files; a retry pays for these anew.
        AssetTimeoutError: some were not Active in time; a retry finds them again.
    """

    template_fields: Sequence[str] = ("group_id", "files", "asset_type", "upload", "anyfast_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"files": "json"}
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        group_id: str,
        files: Place | Sequence[Place],
        asset_type: str | None = None,
        upload: UploadWay = "auto",
        wait_until_active: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        timeout: float = 600.0,
        max_in_flight: int = 8,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group_id = group_id
        self.files = files
        self.asset_type = asset_type
        self.upload = upload
        self.wait_until_active = wait_until_active
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.max_in_flight = max_in_flight
        self.anyfast_conn_id = anyfast_conn_id

    def execute(self, context: Context) -> list[str]:
        """Looks at every file, creates the assets that are missing, and waits until all can be used."""
        with (
            fail_fast(context, self.anyfast_conn_id),
            AnyFastHook(self.anyfast_conn_id).get_conn() as client,
            self._pool() as pool,
        ):
            check_choice("upload", self.upload, UploadWay)
            check_group_id(self.group_id)
            check_asset_type(self.asset_type)
            started_at = clock.now()
            if isinstance(self.files, Iterable) and not isinstance(self.files, str):
                files = [str(file) for file in self.files]
            else:
                files = files_in(self.files)
            names = self._look_at_all(pool, files)
            ids = self._obtain_all(client, pool, dict(zip(names, files, strict=True)))
            asset_ids = [ids[name] for name in names]
            context["ti"].xcom_push("asset_ids", asset_ids)
            if self.wait_until_active:
                self._wait_for_all(client, pool, asset_ids, started_at)
            return asset_ids

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> list[str]:
        """Goes on after the deferral: AnyFast is asked once more for each."""
        del event
        ti = context["ti"]
        asset_ids = list(ti.xcom_pull(task_ids=self.task_id, key="asset_ids", map_indexes=ti.map_index))
        with (
            fail_fast(context, self.anyfast_conn_id),
            AnyFastHook(self.anyfast_conn_id).get_conn() as client,
            self._pool() as pool,
        ):
            self._conclude(pool.map(lambda job: self.resume(client, job, ""), self._triggers(asset_ids, clock.now())))
            return asset_ids

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that a failure lets finish what they are about, which may be billed, and that a time-out leaves."""
        pool = ThreadPoolExecutor(max(1, int(self.max_in_flight)), thread_name_prefix="anyfast")
        try:
            yield pool
        except Exception:
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:  # such as AirflowTaskTimeout, while threads wait for assets
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()

    def _look_at_all(self, pool: ThreadPoolExecutor, files: Sequence[str]) -> list[str]:
        """The name of each file's asset; all that is wrong with any file is told together."""

        def look_at(file: str) -> tuple[str, str]:
            try:
                with file_source(file, asset_type=self.asset_type) as source:
                    return source.name, ""
            except InvalidRequestError as error:
                return "", str(error)

        for file in files:
            stored_file(file, "files")  # connections are looked up here, since other threads must not talk to Airflow
        looked_at = list(pool.map(look_at, files))
        problems = [problem for _, problem in looked_at if problem]
        if problems:
            raise InvalidRequestError(
                f"{len(problems)} of {len(files)} files cannot become assets, so none was created: "
                + " ".join(problems)
            )
        return [name for name, _ in looked_at]

    def _obtain_all(self, client: AnyFastClient, pool: ThreadPoolExecutor, files: dict[str, str]) -> dict[str, str]:
        """The id of each name's asset. One list tells what is there already, so a retry does not read the files."""
        usable = {
            asset.name: asset.id
            for asset in client.run(endpoints.list_assets(group_ids=[self.group_id]))
            if asset.outcome is not Outcome.FAILED
        }
        missing = [name for name in files if name not in usable]
        self.log.info(
            "%d of %d assets are there already; creating %d.", len(files) - len(missing), len(files), len(missing)
        )
        creation = AssetCreation(client, self.group_id)

        def obtain(name: str) -> str:
            # AnyFast keeps the names in a group unique, so this ledger need not outlive the attempt.
            ledger = Ledger(MemoryStore(), fingerprint=name, max_tries=0)
            with file_source(files[name], name=name, asset_type=self.asset_type, upload=self.upload) as source:
                try:
                    return creation.obtain(ledger, source)[0]
                except LostAnswerError as error:
                    self.log.warning("%s It is looked for now.", error)
                    return creation.obtain(ledger, source)[0]

        return {**usable, **dict(zip(missing, pool.map(obtain, missing), strict=True))}

    def _wait_for_all(
        self, client: AnyFastClient, pool: ThreadPoolExecutor, asset_ids: Sequence[str], started_at: float
    ) -> None:
        triggers = self._triggers(asset_ids, started_at)
        if self.deferrable:
            jobs = [(trigger.job_id, trigger.started_at, trigger.deadline) for trigger in triggers]
            self.defer_until(
                AssetsTrigger(jobs=jobs, anyfast_conn_id=self.anyfast_conn_id, poll_interval=self.poll_interval)
            )
        self._conclude(pool.map(lambda trigger: self.wait(client, trigger), triggers))

    def _triggers(self, asset_ids: Sequence[str], started_at: float) -> list[AssetTrigger]:
        return [
            AssetTrigger(
                job_id=asset_id,
                anyfast_conn_id=self.anyfast_conn_id,
                started_at=started_at,
                deadline=clock.now() + self.timeout,
                poll_interval=self.poll_interval,
            )
            for asset_id in dict.fromkeys(asset_ids)
        ]

    def _conclude(self, assets: Iterable[Asset]) -> None:
        failures = [asset_failure(asset) for asset in assets if asset.outcome is Outcome.FAILED]
        if failures:
            raise AssetFailedError(" ".join(map(str, failures)), code=failures[0].code)


class _ListOperator(BaseOperator):
    """What both lists have in common: their filters."""

    template_fields: Sequence[str] = ("name", "group_ids", "group_type", "anyfast_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"group_ids": "json"}
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        name: str | None = None,
        group_ids: Sequence[str] = (),
        group_type: str | None = "AIGC",
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.group_ids = group_ids
        self.group_type = group_type
        self.anyfast_conn_id = anyfast_conn_id

    def _read(self, context: Context, list_all: Callable[..., endpoints.Flow[list[ItemT]]]) -> list[ItemT]:
        flow = list_all(group_ids=self.group_ids, name=self.name or None, group_type=self.group_type or None)
        with fail_fast(context, self.anyfast_conn_id):
            return AnyFastHook(self.anyfast_conn_id).run(flow)


class ListAssetGroupsOperator(_ListOperator):
    """Lists the asset groups of the key, every page. Free.

    Args:
        name: part of the name; None lists all.
        group_ids: only these groups.
        group_type: ``AIGC``, ``LivenessFace``, or None to leave the filter out.
        anyfast_conn_id: the connection.

    Returns:
        A list of ``{"id", "name", "group_type", "description", "created_at"}``; names are without the service's prefix.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads every page."""
        return [
            {**group.model_dump(), "name": group.plain_name}
            for group in self._read(context, endpoints.list_asset_groups)
        ]


class ListAssetsOperator(_ListOperator):
    """Lists the assets of the key, every page. Free.

    Args:
        name: part of the name; None lists all.
        group_ids: only what is in these groups.
        group_type: ``AIGC``, ``LivenessFace``, or None to leave the filter out, which AnyFast has refused at times.
        anyfast_conn_id: the connection.

    Returns:
        A list of ``{"id", "uri", "name", "group_id", "asset_type", "status", "created_at", "updated_at", "error"}``.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Reads every page."""
        return [asset_facts(asset) for asset in self._read(context, endpoints.list_assets)]


def _ledger(context: Context, identity: dict[str, str], conn_id: str, base_url: str = "") -> Ledger:
    return Ledger(
        store_for(context, LEDGER_KEY),
        fingerprint=fingerprint_of(identity, f"{conn_id} {base_url}"),
        max_tries=context["ti"].max_tries,
    )
