"""Generating a video."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.removal import after_success
from airflow_provider_anyfast.ledger.stores import GENERATION_KEY, GROUP_KEY
from airflow_provider_anyfast.lineage import lineage_of
from airflow_provider_anyfast.links.video import AnyFastVideoLink
from airflow_provider_anyfast.metrics import count_stored_success, failures_counted
from airflow_provider_anyfast.operators.video_download import DownloadVideoOperator
from airflow_provider_anyfast.parameters import Problem, TaskParameters, check_literals, placeholder_problems, read
from airflow_provider_anyfast.seedance.request import VideoRequest
from airflow_provider_anyfast.values import (
    OnLostSubmission,
    OptionalFilePath,
    OptionalSeconds,
    OptionalWhole,
    Seconds,
    Switch,
)
from airflow_provider_anyfast.xcoms import failures_published

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_anyfast.files.paths import Place
    from airflow_provider_anyfast.seedance.catalog import KnownModel, Ratio, Resolution
    from airflow_provider_anyfast.tasks.video import GenerateVideoTask
    from airflow_provider_anyfast.values import Duration, Templated, TemplatedText

__all__ = ["DownloadVideoOperator", "GenerateVideoOperator"]


class RunParameters(TaskParameters):
    """How to run a generation: every parameter that is not part of the request."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"output_path"})

    output_path: OptionalFilePath = None
    overwrite: Switch = True
    save_poster: Switch = False
    wait_for_completion: Switch = True
    deferrable: Switch = False
    durable: Switch = True
    poll_interval: OptionalSeconds = None
    max_tokens: OptionalWhole = None
    timeout: Seconds = 3600.0
    on_lost_submission: OnLostSubmission = "fail"

    def problems(self) -> Iterator[Problem]:
        """A poster without a saved video."""
        if self.save_poster and self.output_path is None:
            yield Problem(frozenset({"save_poster", "output_path"}), "save_poster=True needs an output_path")


class GenerateVideoOperator(DeferrableJobMixin):
    """Makes a Seedance video, and never pays for it twice. Billed once; AnyFast refunds a video that fails.

    The task records an intent before the submission and the generation's id after it, so that a retry continues with
    what is paid for. ``generation_id`` is pushed as its own XCom as soon as it exists, and at the end ``path``,
    ``video_url``, ``seed``, ``last_frame_path`` and ``poster_path`` where they are known, so that other tasks can use
    ``video.output["path"]``. Clearing a task that has succeeded makes, and pays for, a new video.

    Args:
        prompt: what to show; references are named ``@image1``, ``@video1``, ``@audio1`` by type.
        model: a Seedance model; one that this provider does not know is sent unchecked.
        first_frame, last_frame: the image that the video starts with, and the one that it ends with.
        reference_images, reference_videos, reference_audios: what guides the video. A reference is an asset id (the
            result of ``CreateAssetOperator``), a public URL, a data URI (not for videos) or, with ``asset_group``, a
            local file or any ``ObjectStoragePath``.
        asset_group: name or id of the group in which such files become assets, one per distinct content. Creations are
            billed.
        resolution: such as ``720p``.
        ratio: such as ``16:9``, or ``adaptive``.
        duration: seconds.
        seed: for a repeatable result; -1 is random.
        generate_audio: whether the video gets sound.
        watermark: whether the video shows that it was generated.
        return_last_frame: whether AnyFast also returns the last frame as an image.
        web_search: whether the model may search the web; only with a prompt and no references.
        content: more items for AnyFast's ``content``, sent unchanged.
        extra_body: more fields for the request, sent unchanged.
        output_path: local file, ``file://`` URL or any ``ObjectStoragePath`` (``s3://conn@bucket/key``) to download to;
            ``{generation_id}`` is filled in. A local folder is created and checked to be writable, and a bucket is
            checked to exist, before anything is billed. A last frame is saved next to it, as ``….last_frame.png``.
        overwrite: False keeps a complete video that is already there. If ``output_path`` does not contain
            ``{generation_id}``, nothing is submitted then: the result has its ``path``, and no ``generation_id``.
        save_poster: saves the first frame of the video next to it, as ``….poster.jpg``. Needs the extra ``media``.
        wait_for_completion: False returns as soon as the video is submitted; a ``VideoStatusSensor`` can wait for it.
        deferrable: waits in the triggerer, without holding a worker.
        poll_interval: seconds between polls; None uses the default schedule, which starts when a video may be finished.
        max_tokens: refuses a request whose highest estimate is above this, before anything is billed.
        timeout: seconds from the submission after which the task fails. AnyFast still finishes and bills the video; a
            retry continues with it.
        durable: False forgets what was submitted when the attempt ends, so that a retry pays again.
        on_lost_submission: if the response to a submission is lost, ``fail`` and let a person look, or ``resubmit`` and
            perhaps pay twice.
        anyfast_conn_id: the connection.

    Returns:
        ``{"generation_id", "status", "model", "prompt", "parameters", "video_url", "expires_at", "path",
        "last_frame_url", "last_frame_path", "poster_path", "width", "height", "seconds", "frame_rate", "has_sound",
        "warnings", "duration", "resolution", "ratio", "seed", "usage", "estimated_tokens", "estimated_cost", "cost",
        "submitted_at", "finished_at"}``; unknown values are None, and money is text. With the extra ``media``,
        ``width`` to ``has_sound`` are measured in the saved file, and ``warnings`` say how it differs from the
        request. An ``Asset`` or ``AssetAlias`` among the outlets gets the file's URI and these values, without links
        and paths, as the extra of its event.

    Raises:
        AnyFastError: one class per cause, see ``exceptions``. Those that a retry cannot fix fail the task at once.
    """

    request_fields: ClassVar[tuple[str, ...]] = tuple(VideoRequest.model_fields)
    template_fields: Sequence[str] = (
        *request_fields,
        "output_path",
        "poll_interval",
        "max_tokens",
        "timeout",
        "on_lost_submission",
        "anyfast_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("reference_images", "reference_videos", "reference_audios", "content", "extra_body"), "json"
    )
    operator_extra_links = (AnyFastVideoLink(),)
    video_link = ""
    submitted_id = ""
    lineage_uris: tuple[Sequence[str], Sequence[str]] = ((), ())
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        prompt: TemplatedText | None = None,
        model: Templated[KnownModel] = "seedance",
        first_frame: Place | TemplatedText | None = None,
        last_frame: Place | TemplatedText | None = None,
        reference_images: Templated[Sequence[Place]] = (),
        reference_videos: Templated[Sequence[Place]] = (),
        reference_audios: Templated[Sequence[Place]] = (),
        asset_group: TemplatedText | None = None,
        resolution: Templated[Resolution] | None = None,
        ratio: Templated[Ratio] | None = None,
        duration: Templated[int] | None = None,
        seed: Templated[int] | None = None,
        generate_audio: Templated[bool] | None = None,
        watermark: Templated[bool] | None = None,
        return_last_frame: Templated[bool] | None = None,
        web_search: Templated[bool] | None = None,
        content: Templated[Sequence[dict[str, Any]]] = (),
        extra_body: Templated[dict[str, Any]] | None = None,
        output_path: Place | TemplatedText | None = None,
        overwrite: bool = True,
        save_poster: bool = False,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: Duration | None = None,
        max_tokens: Templated[int] | None = None,
        timeout: Duration = 3600.0,
        durable: bool = True,
        on_lost_submission: Templated[OnLostSubmission] = "fail",
        anyfast_conn_id: str = AnyFastHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.model = model
        self.first_frame = first_frame
        self.last_frame = last_frame
        self.reference_images = reference_images
        self.reference_videos = reference_videos
        self.reference_audios = reference_audios
        self.asset_group = asset_group
        self.resolution = resolution
        self.ratio = ratio
        self.duration = duration
        self.seed = seed
        self.generate_audio = generate_audio
        self.watermark = watermark
        self.return_last_frame = return_last_frame
        self.web_search = web_search
        self.content = content
        self.extra_body = extra_body
        self.output_path = output_path
        self.overwrite = overwrite
        self.save_poster = save_poster
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.max_tokens = max_tokens
        self.timeout = timeout
        self.durable = durable
        self.on_lost_submission = on_lost_submission
        self.anyfast_conn_id = anyfast_conn_id
        self.on_success_callback = [*(self.on_success_callback or ()), count_stored_success]
        keys = [GENERATION_KEY] if asset_group is None else [GENERATION_KEY, GROUP_KEY]
        self.on_success_callback += [after_success(key) for key in keys if durable]
        check_literals(self, VideoRequest, RunParameters, more=placeholder_problems("output_path", output_path))

    def execute(self, context: Context) -> dict[str, Any]:
        """Submits the video, or continues with the one that an earlier attempt paid for."""
        with failures_published(context), fail_fast(context, self.anyfast_conn_id), failures_counted():
            return self._task(context).run()

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resumes after the deferral: polls AnyFast once more, and saves the video."""
        with failures_published(context), fail_fast(context, self.anyfast_conn_id), failures_counted():
            return self._task(context).resume(event or {})

    def _task(self, context: Context) -> GenerateVideoTask:
        from airflow_provider_anyfast.tasks.video import GenerateVideoTask  # noqa: PLC0415 - not while a DAG is parsed

        return GenerateVideoTask(self, context)

    def on_kill(self) -> None:
        """Ends a wait in this process. AnyFast cannot cancel a generation, so this logs what becomes of it."""
        super().on_kill()
        what = (
            f"Generation {self.submitted_id} may still be rendering. AnyFast cannot cancel it: it will finish and be "
            "billed."
            if self.submitted_id
            else "A video may have been submitted. If so, AnyFast finishes and bills it."
        )
        follows = (
            "A retry or a clear of this task resumes it."
            if self.durable
            else "durable=False: a retry pays for another."
        )
        self.log.warning("Task stopped. %s %s", what, follows)

    @cached_property
    def _given(self) -> tuple[VideoRequest, RunParameters]:
        """The rendered parameters.

        Raises:
            InvalidRequestError: AnyFast would refuse them; every problem is named.
        """
        return read(self, VideoRequest, RunParameters)

    @property
    def request(self) -> VideoRequest:
        """The rendered request."""
        return self._given[0]

    @property
    def options(self) -> RunParameters:
        """The rendered parameters that are not part of the request."""
        return self._given[1]

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """The references of the video, and the file that it was saved to."""
        del task_instance
        return lineage_of(*self.lineage_uris)
