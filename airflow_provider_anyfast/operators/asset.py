"""Creating asset groups, and the images, videos and audio files in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.assets.parameters import AssetParameters, GroupParameters
from airflow_provider_anyfast.deferral import DeferrableJobMixin, StoppableOperator
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.removal import after_success
from airflow_provider_anyfast.ledger.stores import ASSET_KEY
from airflow_provider_anyfast.operators.asset_bulk import CreateAssetsOperator
from airflow_provider_anyfast.operators.asset_listing import ListAssetGroupsOperator, ListAssetsOperator
from airflow_provider_anyfast.parameters import check_literals, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.assets.parameters import IfAssetExists, IfGroupExists, UploadMethod
    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.tasks.asset import CreateAssetTask
    from airflow_provider_anyfast.values import Duration, Templated, TemplatedText

__all__ = [
    "CreateAssetGroupOperator",
    "CreateAssetOperator",
    "CreateAssetsOperator",
    "ListAssetGroupsOperator",
    "ListAssetsOperator",
]


class CreateAssetGroupOperator(StoppableOperator):
    """Creates an asset group, or finds the one of that name. Creating is billed, finding is not.

    Args:
        name: of the group, at most 64 characters. AnyFast allows several groups of one name: tasks that create it at
            the same moment pay for one each, and all use the oldest. Let one task create it, and pass its id on.
        if_exists: ``reuse`` the oldest group of exactly that name, ``fail``, or ``create`` another one.
        anyfast_conn_id: the connection; groups belong to its key.

    Returns:
        The group's id.

    Raises:
        InvalidRequestError: a parameter is invalid, or ``if_exists="fail"`` and the group exists; nothing was billed.
        LostAnswerError: the response to the creation was lost, so it may be billed; a retry looks for the group first.
    """

    template_fields: Sequence[str] = ("name", "if_exists", "anyfast_conn_id")
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        name: TemplatedText,
        if_exists: Templated[IfGroupExists] = "reuse",
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.if_exists = if_exists
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(ASSET_KEY)]
        check_literals(self, GroupParameters)

    def execute(self, context: Context) -> str:
        """Looks for the group, and creates it if there is none."""
        from airflow_provider_anyfast.tasks.asset import create_group  # noqa: PLC0415 - not while a DAG is parsed

        with fail_fast(context, self.anyfast_conn_id):
            return create_group(self, read(self, GroupParameters), context)


class CreateAssetOperator(DeferrableJobMixin):
    """Puts an image, a video or an audio file into a group, once. Creating is billed, finding is not.

    Names are unique in a group, and a name that is not given comes from the file's name and content: the same file in
    the same group is never billed twice. The same content under another name is another asset.

    Args:
        group_id: the group, as ``CreateAssetGroupOperator`` returns it.
        url: a public link, a data URI, or the raw Base64 of an image; or
        file: a local file or any ``ObjectStoragePath`` (``s3://conn@bucket/key``), whose type is read from its content.
        name: unique in the group; None derives it from the file's name and content.
        asset_type: ``Image``, ``Video`` or ``Audio``; None detects it.
        upload: how a file is sent: ``data_uri``, ``multipart``, or ``auto``, which takes the first for images.
        if_exists: ``reuse`` the asset of that name, or ``fail``. A failed asset is deleted, and created again.
        wait_until_active: whether to wait until AnyFast has processed the file, which takes 6 to 20 seconds.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None uses the default schedule.
        timeout: seconds from the creation, or a ``timedelta``, after which the task fails.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The asset's id, which every reference of ``GenerateVideoOperator`` takes.

    Raises:
        InvalidRequestError: AnyFast would refuse the file, or ``if_exists="fail"`` and there is an asset of that name;
            nothing was billed.
        StorageError: the storage of the file did not respond; nothing was billed.
        LostAnswerError: the response to the creation was lost, so it may be billed; a retry looks for the asset first.
        AssetFailedError: AnyFast could not use the file; the creation was billed.
        AssetNotFoundError: AnyFast does not know the asset that it created and billed; a clear creates a new one.
        AssetTimeoutError: it was not Active in time; a retry finds the same one.
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
        group_id: TemplatedText,
        url: TemplatedText | None = None,
        file: Templated[Place] | None = None,
        name: TemplatedText | None = None,
        asset_type: TemplatedText | None = None,
        upload: Templated[UploadMethod] = "auto",
        if_exists: Templated[IfAssetExists] = "reuse",
        wait_until_active: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: Duration | None = None,
        timeout: Duration = 600.0,
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
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(ASSET_KEY)]
        check_literals(self, AssetParameters)

    def execute(self, context: Context) -> str:
        """Looks for the asset, creates it if there is none, and waits until it can be used."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).run()

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> str:
        """Resumes after the deferral: polls AnyFast once more."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).resume(event or {})

    def _task(self, context: Context) -> CreateAssetTask:
        from airflow_provider_anyfast.tasks.asset import CreateAssetTask  # noqa: PLC0415 - not while a DAG is parsed

        return CreateAssetTask(self, context)
