"""Filling and reading the asset library: groups, and the images, videos and audio in them."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import conf
from airflow.sdk import BaseOperator

from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.endpoints import Upload
from airflow_provider_anyfast.client.errors import (
    AssetGroupNotFoundError,
    InvalidRequestError,
)
from airflow_provider_anyfast.client.media import ASSET_TYPES, MediaFile, read_media
from airflow_provider_anyfast.client.models import Asset, AssetGroup, Outcome
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.exceptions import for_airflow
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.jobs.failures import asset_failure
from airflow_provider_anyfast.jobs.ledger import Attach, Ledger, Lost, fingerprint_of
from airflow_provider_anyfast.jobs.purchase import buy
from airflow_provider_anyfast.jobs.result import asset_facts
from airflow_provider_anyfast.operators.stores import after_success, store_for
from airflow_provider_anyfast.triggers.asset import AssetTrigger
from airflow_provider_anyfast.triggers.waiting import WaitingOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient

ItemT = TypeVar("ItemT", Asset, AssetGroup)
IfExists = Literal["reuse", "fail", "create"]

LEDGER_KEY = "anyfast_asset"
LONGEST_NAME = 64
"""Characters of a name."""
INDEX_LAG = 30.0
"""Seconds after which what was created is surely in the lists."""
CLOCK_SKEW = 120.0
"""Seconds by which AnyFast's clock and this one may differ."""
FRESH_GROUP_PATIENCE = (2.0, 4.0, 8.0)
"""Seconds between tries while a group that is listed is not yet known to CreateAsset."""


class CreateAssetGroupOperator(BaseOperator):
    """Creates an asset group, or finds the one of that name. Creating is billed, finding is free.

    Args:
        name: of the group, at most 64 characters. AnyFast allows several groups of one name.
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
        if_exists: IfExists = "reuse",
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
        with for_airflow():
            name = _checked_name(self.name)
            _check_choice("if_exists", self.if_exists, IfExists)
            hook = AnyFastHook(self.anyfast_conn_id)
            ledger = _ledger(context, {"group": name}, self.anyfast_conn_id, hook.settings.base_url)
            plan = ledger.plan()
            if isinstance(plan, Attach):
                self.log.info("Group %s was created by an earlier attempt.", plan.id)
                return plan.id
            with hook.get_conn() as client:
                group = self._find(client, name, plan.at if isinstance(plan, Lost) else None)
                if group is not None:
                    ledger.submitted(group.id)
                    group_id = group.id
                else:
                    self.log.info("Creating the asset group %r, which is billed.", name)
                    group_id = buy(ledger, lambda: client.send(endpoints.create_asset_group(name)))
            return group_id

    def _find(self, client: AnyFastClient, name: str, lost_at: float | None) -> AssetGroup | None:
        if lost_at is None and self.if_exists == "create":
            return None
        if lost_at is not None:
            clock.sleep(max(0.0, lost_at + INDEX_LAG - clock.now()))
        groups = [group for group in client.run(endpoints.list_asset_groups(name=name)) if group.plain_name == name]
        if lost_at is not None and self.if_exists != "reuse":
            groups = [group for group in groups if group.created >= lost_at - CLOCK_SKEW]
        elif groups and self.if_exists == "fail":
            raise InvalidRequestError(f"There is a group named {name!r} already: {groups[0].id}. Nothing was spent.")
        if not groups:
            return None
        oldest = min(groups, key=lambda group: group.created_at)
        if len(groups) > 1:
            self.log.warning("%d groups are named %r; the oldest is used: %s.", len(groups), name, oldest.id)
        return oldest


class CreateAssetOperator(WaitingOperator):
    """Puts an image, a video or an audio file into a group, once. Creating is billed, finding is free.

    Names are unique in a group, and a name that is not given comes from the content: the same content in the same
    group is never paid for twice.

    Args:
        group_id: the group, as ``CreateAssetGroupOperator`` returns it.
        url: a public URL, a data URI, or raw Base64 of a PNG; or
        file: a local file, whose type is read from its content.
        name: unique in the group; None takes one from the file's name and its content.
        asset_type: ``Image``, ``Video`` or ``Audio``; None finds it out.
        if_exists: ``reuse`` the asset of that name, or ``fail``.
        wait_until_active: whether to wait until AnyFast has processed the file, which takes 6 to 20 seconds.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None follows the asset.
        timeout: seconds from the creation after which the task fails.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The asset's id, which every reference of ``GenerateVideoOperator`` takes.

    Raises:
        InvalidRequestError: AnyFast would refuse the file; nothing was spent.
        AssetFailedError: AnyFast could not use the file; the creation was billed.
        AssetTimeoutError: it was not Active in time; a retry finds it again.
    """

    template_fields: Sequence[str] = (
        "group_id",
        "url",
        "file",
        "name",
        "asset_type",
        "if_exists",
        "anyfast_conn_id",
    )
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        group_id: str,
        url: str | None = None,
        file: str | None = None,
        name: str | None = None,
        asset_type: str | None = None,
        if_exists: Literal["reuse", "fail"] = "reuse",
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
        self.if_exists = if_exists
        self.wait_until_active = wait_until_active
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(LEDGER_KEY, "return_value")]

    def execute(self, context: Context) -> str:
        """Looks for the asset, creates it where there is none, and waits until it can be used."""
        with for_airflow():
            source = self._source()
            hook = AnyFastHook(self.anyfast_conn_id)
            identity = {"group": self.group_id, "name": source.name}
            ledger = _ledger(context, identity, self.anyfast_conn_id, hook.settings.base_url)
            plan = ledger.plan()
            with hook.get_conn() as client:
                created_at = plan.submitted_at if isinstance(plan, Attach) else clock.now()
                if isinstance(plan, Attach):
                    self.log.info("Asset %s was created by an earlier attempt.", plan.id)
                    asset_id, active = plan.id, False
                else:
                    asset_id, active = self._find_or_create(client, ledger, source, plan)
                context["ti"].xcom_push("asset_id", asset_id)
                if self.wait_until_active and not active:
                    self._check(self.wait(client, self._trigger(asset_id, created_at)), ledger)
            return asset_id

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Goes on after the deferral: AnyFast is asked once more."""
        with for_airflow():
            event = event or {}
            ti = context["ti"]
            asset_id = event.get("job_id") or ti.xcom_pull(
                task_ids=self.task_id, key="asset_id", map_indexes=ti.map_index
            )
            trigger = self._trigger(asset_id, float(event.get("started_at") or clock.now()))
            ledger = _ledger(context, {}, self.anyfast_conn_id)
            with AnyFastHook(self.anyfast_conn_id).get_conn() as client:
                self._check(self.woken(client, trigger, event.get("reason", "")), ledger)
            return str(asset_id)

    def _source(self) -> AssetSource:
        _check_choice("if_exists", self.if_exists, Literal["reuse", "fail"])
        if not (self.group_id or "").strip():
            raise InvalidRequestError("group_id is empty: give the id that CreateAssetGroupOperator returns.")
        if bool(self.url) == bool(self.file):
            raise InvalidRequestError("Give either url or file, and not both.")
        if self.asset_type and self.asset_type not in ASSET_TYPES:
            raise InvalidRequestError(f"asset_type={self.asset_type!r} is none of {', '.join(ASSET_TYPES)}.")
        if self.file:
            path = Path(self.file.removeprefix("file://")).expanduser()
            media = read_media(path, self.asset_type or None)
            return AssetSource(_checked_name(self.name or media.default_name), media.asset_type, media=media)
        url = (self.url or "").strip()
        asset_type = self.asset_type or _type_of_url(url)
        return AssetSource(_checked_name(self.name or _name_of_url(url)), asset_type, url=url)

    def _find_or_create(
        self, client: AnyFastClient, ledger: Ledger, source: AssetSource, plan: object
    ) -> tuple[str, bool]:
        """The asset's id, and whether it is known to be Active."""
        if isinstance(plan, Lost):
            clock.sleep(max(0.0, plan.at + INDEX_LAG - clock.now()))
        found = self._find(client, source.name)
        if found is not None and self.if_exists == "fail" and not isinstance(plan, Lost):
            raise InvalidRequestError(
                f"There is an asset named {source.name!r} in {self.group_id} already: {found.id}. Nothing was spent."
            )
        if found is not None and found.outcome is Outcome.FAILED:
            self.log.warning("Asset %s of that name has failed; it is deleted, which is free.", found.id)
            client.send(endpoints.delete_asset(found.id))
            found = None
        if found is None:
            return self._create(client, ledger, source)
        self.log.info("Asset %s is named %r already: it is used, and nothing is paid.", found.id, source.name)
        ledger.submitted(found.id)
        return found.id, found.outcome is Outcome.SUCCEEDED

    def _create(self, client: AnyFastClient, ledger: Ledger, source: AssetSource) -> tuple[str, bool]:
        """Creates the asset. A missing group can mean three things, and free calls tell which."""
        waits = iter(FRESH_GROUP_PATIENCE)
        while True:
            self.log.info("Creating the asset %r in %s, which is billed.", source.name, self.group_id)
            try:
                return buy(ledger, lambda: source.create(client, self.group_id)), False
            except AssetGroupNotFoundError as error:
                namesake = self._find(client, source.name)
                if namesake is not None and self.if_exists == "reuse":
                    self.log.info("Another task has created %s at the same moment: it is used.", namesake.id)
                    ledger.submitted(namesake.id)
                    return namesake.id, False
                groups = client.run(endpoints.list_asset_groups(group_ids=[self.group_id]))
                patience = next(waits, None)
                if patience is None or all(group.id != self.group_id for group in groups):
                    raise error.adding(
                        f"This key sees no group {self.group_id}, or the name {source.name!r} is taken in it. Groups "
                        "belong to the key that created them. Nothing was spent."
                    ) from error
                clock.sleep(patience)

    def _find(self, client: AnyFastClient, name: str) -> Asset | None:
        """The asset of exactly that name; where there are several, one that can be used."""
        assets = client.run(endpoints.list_assets(group_ids=[self.group_id], name=name))
        rank = {Outcome.SUCCEEDED: 0, Outcome.PENDING: 1, Outcome.FAILED: 2}
        named = sorted((asset for asset in assets if asset.name == name), key=lambda asset: rank[asset.outcome])
        return named[0] if named else None

    def _trigger(self, asset_id: str, created_at: float) -> AssetTrigger:
        return AssetTrigger(
            job_id=asset_id,
            anyfast_conn_id=self.anyfast_conn_id,
            started_at=created_at,
            deadline=max(created_at, clock.now()) + self.timeout,
            poll_interval=self.poll_interval,
        )

    def _check(self, asset: Asset, ledger: Ledger) -> None:
        if asset.outcome is Outcome.FAILED:
            ledger.close(asset.id)
            raise asset_failure(asset)


@dataclass(frozen=True)
class AssetSource:
    """What becomes an asset: a URL, or a file."""

    name: str
    asset_type: str
    url: str | None = None
    media: MediaFile | None = None

    def create(self, client: AnyFastClient, group_id: str) -> str:
        """Creates the asset and returns its id. Billed.

        Images of a file go as data URIs and the rest as multipart forms: images sent as forms have been seen to get
        ids that never resolve.
        """
        create = partial(endpoints.create_asset, group_id=group_id, name=self.name, asset_type=self.asset_type)
        if self.media is None:
            return client.send(create(url=self.url))
        if self.asset_type == "Image":
            return client.send(create(url=self.media.data_uri()))
        with self.media.open() as content:
            return client.send(create(upload=Upload(self.media.path.name, content, self.media.media_type)))


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

    def _read(self, list_all: Callable[..., endpoints.Flow[list[ItemT]]]) -> list[ItemT]:
        flow = list_all(group_ids=self.group_ids, name=self.name or None, group_type=self.group_type or None)
        with for_airflow():
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
        del context
        return [{**group.model_dump(), "name": group.plain_name} for group in self._read(endpoints.list_asset_groups)]


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
        del context
        return [asset_facts(asset) for asset in self._read(endpoints.list_assets)]


def _ledger(context: Context, identity: dict[str, str], conn_id: str, base_url: str = "") -> Ledger:
    return Ledger(
        store_for(context, LEDGER_KEY),
        fingerprint=fingerprint_of(identity, f"{conn_id} {base_url}"),
        max_tries=context["ti"].max_tries,
    )


def _checked_name(name: str) -> str:
    name = (name or "").strip()
    if not name or len(name) > LONGEST_NAME:
        raise InvalidRequestError(f"name={name!r} has {len(name)} characters; AnyFast takes 1 to {LONGEST_NAME}.")
    return name


def _check_choice(parameter: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise InvalidRequestError(f"{parameter}={value!r} is none of {', '.join(get_args(choices))}.")


def _type_of_url(url: str) -> str:
    """From the media type of a data URI, or the file ending of a link; raw Base64 is a PNG to AnyFast."""
    if url.startswith("data:"):
        media_type = url[len("data:") :].partition(";")[0].partition(",")[0]
    elif "://" in url:
        media_type = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    else:
        media_type = "image/png"
    asset_type = media_type.partition("/")[0].capitalize()
    if asset_type not in ASSET_TYPES:
        raise InvalidRequestError(
            f"asset_type cannot be told from url={redact(url)[:100]!r}; give one of {', '.join(ASSET_TYPES)}."
        )
    return asset_type


def _name_of_url(url: str) -> str:
    """From the link without its signature, or from the content where it is in the URL itself."""
    digest = fingerprint_of({"url": url}, "")[:12]
    stem = PurePosixPath(urlsplit(url).path).stem if url.startswith(("http://", "https://")) else "asset"
    return f"{stem[:40] or 'asset'}-{digest}"
