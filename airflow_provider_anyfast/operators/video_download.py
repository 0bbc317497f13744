"""Downloading a finished video."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook, AnyFastHookMixin
from airflow_provider_anyfast.lineage import lineage_of
from airflow_provider_anyfast.links.video import AnyFastVideoLink
from airflow_provider_anyfast.parameters import TaskParameters, check_literals, placeholder_problems, read
from airflow_provider_anyfast.values import FilePath, Id, Switch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.values import TemplatedText


class DownloadParameters(TaskParameters):
    """What to download, and where to."""

    generation_id: Id = ""
    output_path: FilePath = "video"
    overwrite: Switch = True
    save_poster: Switch = False


class DownloadVideoOperator(BaseOperator, AnyFastHookMixin):
    """Downloads a finished video. Not billed; works until its link expires, 24 hours after the video was finished.

    Args:
        generation_id: the XCom of this name that ``GenerateVideoOperator`` pushed.
        output_path: local file, ``file://`` URL or any ``ObjectStoragePath``; ``{generation_id}`` is filled in, and a
            local folder is created. A last frame is saved next to it.
        overwrite: False keeps a complete video that is already there, and downloads nothing.
        save_poster: saves the first frame of the video next to it, as ``….poster.jpg``. Needs the extra ``media``.
        anyfast_conn_id: a connection of the account that submitted the video.

    Returns:
        The same result as ``GenerateVideoOperator``, with ``path``.

    Raises:
        InvalidRequestError: a parameter is invalid; values without a template are checked while the DAG is parsed.
        GenerationTimeoutError: the video is not finished yet.
        LinkExpiredError: the link has expired.
        DownloadError: the file did not arrive complete; no partial file is left.
    """

    template_fields: Sequence[str] = ("generation_id", "output_path", "anyfast_conn_id")
    operator_extra_links = (AnyFastVideoLink(),)
    video_link = ""
    lineage_uris: tuple[Sequence[str], Sequence[str]] = ((), ())
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        generation_id: TemplatedText,
        output_path: Place | TemplatedText,
        overwrite: bool = True,
        save_poster: bool = False,
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.generation_id = generation_id
        self.output_path = output_path
        self.overwrite = overwrite
        self.save_poster = save_poster
        self.anyfast_conn_id = anyfast_conn_id
        check_literals(self, DownloadParameters, more=placeholder_problems("output_path", output_path))

    def execute(self, context: Context) -> dict[str, Any]:
        """Fetches the link and downloads the video."""
        from airflow_provider_anyfast.tasks.video import download_video  # noqa: PLC0415 - not while a DAG is parsed

        with fail_fast(context, self.anyfast_conn_id):
            return download_video(self, read(self, DownloadParameters), context)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """The generation, and the file that it was saved to."""
        del task_instance
        return lineage_of(*self.lineage_uris)
