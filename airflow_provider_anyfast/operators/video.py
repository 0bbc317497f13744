"""Generating a video."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf

from airflow_provider_anyfast.assets import GROUP_KEY
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import LinkExpiredError
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.deferral import DeferrableJobMixin
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.files.video_output import VideoOutput, link_of
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.lookup import Lookup
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.ledger.purchase import OnLostSubmission, PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import Attach, Submit
from airflow_provider_anyfast.ledger.stores import after_success, store_for
from airflow_provider_anyfast.lineage import asset_uris, emit_asset_events, lineage_of
from airflow_provider_anyfast.links.page import page_of_task
from airflow_provider_anyfast.links.video import AnyFastVideoLink, task_log_page
from airflow_provider_anyfast.metrics import count_obtained, count_stored_success, failures_counted
from airflow_provider_anyfast.operators.video_download import DownloadVideoOperator
from airflow_provider_anyfast.parameters import (
    OptionalFilePath,
    OptionalSeconds,
    OptionalWhole,
    Problem,
    Seconds,
    Switch,
    TaskParameters,
    check_literals,
    read,
)
from airflow_provider_anyfast.seedance.pricing import check_budget, describe_estimate
from airflow_provider_anyfast.seedance.request import VideoRequest
from airflow_provider_anyfast.seedance.result import describe_result, video_result
from airflow_provider_anyfast.xcoms import mapped_xcoms, own_xcom, publish, publish_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.files.storage import Place
    from airflow_provider_anyfast.ledger.record import Store
    from airflow_provider_anyfast.parameters import Duration, Templated, TemplatedText
    from airflow_provider_anyfast.seedance.catalog import KnownModel, Ratio, Resolution
    from airflow_provider_anyfast.triggers.video import VideoTrigger

__all__ = ["DownloadVideoOperator", "GenerateVideoOperator"]

LEDGER_KEY = "anyfast_generation"


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
        save_poster: saves the first picture of the video next to it, as ``….poster.jpg``. Needs the extra ``media``.
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
    _generation_id = ""
    _lineage: tuple[Sequence[str], Sequence[str]] = ((), ())
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
        self.on_failure_callback = [*(self.on_failure_callback or ()), publish_failure]
        keys = [LEDGER_KEY] if asset_group is None else [LEDGER_KEY, GROUP_KEY]
        self.on_success_callback += [after_success(key) for key in keys if durable]
        check_literals(self, VideoRequest, RunParameters)

    def execute(self, context: Context) -> dict[str, Any]:
        """Submits the video, or continues with the one that an earlier attempt paid for."""
        with fail_fast(context, self.anyfast_conn_id), failures_counted():
            check_budget(self.request.estimated_tokens(), self._options.max_tokens)
            ledger = self._ledger_for_request(context)
            decision = ledger.plan()
            if self._video_output is not None and not isinstance(decision, Attach):
                self._video_output.check()
                self._video_output.check_poster()
            if self._video_output is not None and isinstance(decision, Submit):
                existing = self._video_output.existing_video()
                if existing is not None:
                    self.log.info("%s exists already and is complete: nothing is submitted.", existing.path)
                    return publish(context, video_result(Generation(""), **self._request_facts, saved=existing))
            with self.hook.get_conn() as client:
                lookup = Lookup(
                    client, others=lambda: mapped_xcoms(context, "generation_id"), is_stopped=lambda: self.stopped
                )
                paid = get_or_submit(
                    ledger,
                    decision,
                    submit=partial(self._submit, context, client),
                    query=lambda generation_id: client.send(endpoints.query_generation(generation_id)),
                    look_up=lookup.look_up,
                    on_lost_submission=self._options.on_lost_submission,
                    wait_if_unknown=True,
                )
                self._announce(context, paid)
                if not self.wait_for_completion:
                    return publish(context, self._submitted(paid))
                generation = paid.generation
                if generation is None or generation.outcome is Outcome.PENDING:
                    generation = self.wait(client, self._trigger(paid.id, paid.submitted_at))
                return self._save(context, client, ledger, generation, paid.submitted_at)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Resumes after the deferral: polls AnyFast once more, and saves the video."""
        with fail_fast(context, self.anyfast_conn_id), failures_counted():
            event = event or {}
            generation_id = event.get("job_id") or own_xcom(context, "generation_id")
            self._generation_id = generation_id
            ledger = Ledger(self._store(context), max_tries=context["ti"].max_tries)
            started_at = float(event.get("started_at") or ledger.submitted_at(generation_id) or clock.now())
            trigger = self._trigger(generation_id, started_at)
            self.video_link = task_log_page(self.hook.settings.base_url, generation_id)
            with self.hook.get_conn() as client:
                generation = self.resume(client, trigger, event)
                return self._save(context, client, ledger, generation, started_at)

    def on_kill(self) -> None:
        """Ends a wait in this process. AnyFast cannot cancel a generation, so this logs what becomes of it."""
        super().on_kill()
        what = (
            f"Generation {self._generation_id} may still be rendering. AnyFast cannot cancel it: it will finish and be "
            "billed."
            if self._generation_id
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
    def _request_facts(self) -> dict[str, Any]:
        """What the result says about the request."""
        return {"prompt": self.request.prompt, "parameters": self.request.given()}

    @property
    def _options(self) -> RunParameters:
        return self._given[1]

    @cached_property
    def _video_output(self) -> VideoOutput | None:
        path = self._options.output_path
        return VideoOutput(path, self.overwrite, self.save_poster) if path is not None else None

    def _store(self, context: Context) -> Store:
        return store_for(context, LEDGER_KEY, durable=self.durable)

    def _ledger_for_request(self, context: Context) -> Ledger:
        """The ledger. The base URL stays out of the fingerprint, since a host has many spellings; 0.1.0 included it."""
        body = self.request.body()
        former = fingerprint_of(body, f"{self.anyfast_conn_id} {self.hook.settings.base_url}")
        return Ledger(
            self._store(context),
            max_tries=context["ti"].max_tries,
            fingerprint=fingerprint_of(body, self.anyfast_conn_id),
            former_fingerprints=[former],
            traits=RequestTraits.of(body),
        )

    def _submit(self, context: Context, client: AnyFastClient, guard: Guard) -> str:
        # Not while a DAG is parsed: the modules that turn files into assets are a third of all that this one imports.
        from airflow_provider_anyfast.assets.references import submit_with_assets  # noqa: PLC0415

        return submit_with_assets(context, client, self.request, self.anyfast_conn_id, guard, durable=self.durable)

    def _announce(self, context: Context, paid: PaidGeneration) -> None:
        """Publishes the id before anything else can fail, and on every attempt, since a retry clears XComs."""
        self._generation_id = paid.id
        context["ti"].xcom_push("generation_id", paid.id)
        self.video_link = task_log_page(self.hook.settings.base_url, paid.id)
        count_obtained(reattached=paid.reattached)
        if not paid.reattached:
            estimate = describe_estimate(self.request.estimated_tokens(), self.hook.settings.price_per_million_tokens)
            self.log.info("Submitted generation %s: %s; %s.", paid.id, self.request.describe(), estimate)

    def _trigger(self, generation_id: str, submitted_at: float) -> VideoTrigger:
        """The wait. Its deadline counts from the submission; an attempt that starts after it gets a new deadline."""
        from airflow_provider_anyfast.triggers.video import VideoTrigger  # noqa: PLC0415 - not while a DAG is parsed

        timeout, now = self._options.timeout, clock.now()
        deadline = submitted_at + timeout
        return VideoTrigger(
            job_id=generation_id,
            anyfast_conn_id=self.anyfast_conn_id,
            started_at=submitted_at,
            deadline=deadline if deadline > now else now + timeout,
            poll_interval=self._options.poll_interval,
            kind=self.request.kind,
        )

    def _save(
        self, context: Context, client: AnyFastClient, ledger: Ledger, generation: Generation, submitted_at: float
    ) -> dict[str, Any]:
        """The result of a generation that has ended, with its file if there is an ``output_path``."""
        if generation.outcome is Outcome.FAILED:
            ledger.mark_closed(generation.generation_id)
            raise generation_failure(generation)
        self.video_link = link_of(generation)
        saved = None
        if self._video_output is not None:
            try:
                saved = self._video_output.save(client, generation, submitted_at)
            except LinkExpiredError:
                ledger.mark_closed(generation.generation_id)
                raise
        result = video_result(
            generation,
            **self._request_facts,
            saved=saved,
            submitted_at=submitted_at,
            estimated_tokens=self.request.estimated_tokens(),
            price=client.settings.price_per_million_tokens,
        )
        seconds = (generation.finished_at or clock.now()) - submitted_at
        self.log.info("Generation %s took %.0f s: %s.", generation.generation_id, seconds, describe_result(result))
        for warning in result["warnings"]:
            self.log.warning("Generation %s: %s", generation.generation_id, warning)
        if saved is not None:
            self.video_link = page_of_task(context["ti"]) or self.video_link
            emit_asset_events(context, self.outlets, saved.uri, result)
            self._lineage = (asset_uris(self.request.references, client.settings.base_url), [saved.uri])
        return publish(context, result)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """The references of the video, and the file that it was saved to."""
        del task_instance
        return lineage_of(*self._lineage)

    def _submitted(self, paid: PaidGeneration) -> dict[str, Any]:
        generation = paid.generation or Generation(paid.id, model=self.request.model)
        tokens = self.request.estimated_tokens()
        return video_result(generation, **self._request_facts, submitted_at=paid.submitted_at, estimated_tokens=tokens)
