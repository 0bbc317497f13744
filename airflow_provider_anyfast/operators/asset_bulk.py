"""Creating assets from a folder, or from a list of files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.assets.parameters import BulkParameters
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.parameters import check_literals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_anyfast.assets.parameters import UploadMethod
    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.tasks.asset import CreateAssetsTask
    from airflow_provider_anyfast.values import Duration, Templated, TemplatedText


class CreateAssetsOperator(DeferrableJobMixin):
    """Puts many files into a group, each once. Each creation is billed; finding is not.

    Every file is checked before the first creation. Names come from the files' names and contents, so a retry finds
    what an earlier attempt created, and pays only for the rest.

    Args:
        group_id: the group, as ``CreateAssetGroupOperator`` returns it.
        files: a folder, a pattern such as ``s3://conn@bucket/pictures/*.png``, or a list of files.
        asset_type: ``Image``, ``Video`` or ``Audio``, if all must be of that type; None detects each.
        upload: how files are sent: ``data_uri``, ``multipart``, or ``auto``, which takes the first for images.
        wait_until_active: whether to wait until AnyFast has processed all files.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None uses the default schedule.
        timeout: seconds from the creation, or a ``timedelta``, after which the task fails.
        max_in_flight: files checked, and creations in progress, at the same time. Each keeps at most one image in
            memory; other files are streamed.
        anyfast_conn_id: the connection; assets belong to its key.

    Returns:
        The assets' ids as a list, in the order of the files (a folder's are sorted by name). The XCom ``assets`` has
        ``{"file", "name", "id"}`` for each, in the same order.

    Raises:
        InvalidRequestError: AnyFast would refuse some of the files, each of which is named; nothing was billed.
        AssetFailedError: AnyFast could not use some of the files; a clear pays for new ones in their place.
        AssetTimeoutError: some were not Active in time; a retry finds the same ones.
    """

    template_fields: Sequence[str] = ("group_id", "files", "asset_type", "upload", "anyfast_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"files": "json"}
    ui_color = "#f0ffe8"

    def __init__(
        self,
        *,
        group_id: TemplatedText,
        files: Templated[Place | Sequence[Place]],
        asset_type: TemplatedText | None = None,
        upload: Templated[UploadMethod] = "auto",
        wait_until_active: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: Duration | None = None,
        timeout: Duration = 600.0,
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
        check_literals(self, BulkParameters)

    def execute(self, context: Context) -> list[str]:
        """Checks every file, creates the missing assets, and waits until all can be used."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).run()

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> list[str]:
        """Resumes after the deferral: polls AnyFast once more."""
        with fail_fast(context, self.anyfast_conn_id):
            return self._task(context).resume(event or {})

    def _task(self, context: Context) -> CreateAssetsTask:
        from airflow_provider_anyfast.tasks.asset import CreateAssetsTask  # noqa: PLC0415 - not while a DAG is parsed

        return CreateAssetsTask(self, context)
