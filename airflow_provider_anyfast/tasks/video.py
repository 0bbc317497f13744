"""What the video operators do on a worker."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_anyfast.assets.references import library_for
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import Cost, GenerationTimeoutError, LinkExpiredError
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.files.video_output import VideoOutput, link_of
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of, formerly_billed_to
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.lookup import Lookup
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.ledger.purchase import PaidGeneration, get_or_submit
from airflow_provider_anyfast.ledger.record import Attach, Submit
from airflow_provider_anyfast.ledger.stores import GENERATION_KEY, store_for
from airflow_provider_anyfast.lineage import asset_uris, emit_asset_events
from airflow_provider_anyfast.links.page import page_of_task
from airflow_provider_anyfast.links.video import task_log_page
from airflow_provider_anyfast.metrics import count_obtained
from airflow_provider_anyfast.seedance.pricing import check_budget, describe_estimate
from airflow_provider_anyfast.seedance.result import describe_result, video_result
from airflow_provider_anyfast.seedance.submission import submit
from airflow_provider_anyfast.tasks.waiting import JobWait
from airflow_provider_anyfast.triggers.video import VideoTrigger
from airflow_provider_anyfast.xcoms import mapped_xcoms, own_xcom, publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard
    from airflow_provider_anyfast.ledger.record import Decision, Store
    from airflow_provider_anyfast.operators.video import GenerateVideoOperator
    from airflow_provider_anyfast.operators.video_download import DownloadParameters, DownloadVideoOperator


class GenerateVideoTask:
    """One attempt of a ``GenerateVideoOperator``, or one part of it before or after a deferral.

    Args:
        operator: with rendered parameters. It receives the submitted id, for ``on_kill``, links and lineage.
        context: Airflow's context.
    """

    def __init__(self, operator: GenerateVideoOperator, context: Context) -> None:
        self._operator = operator
        self._context = context
        self._request = operator.request
        self._options = operator.options

    def run(self) -> dict[str, Any]:
        """Submits the video, or continues with the one that an earlier attempt paid for."""
        check_budget(self._request.estimated_tokens(), self._options.max_tokens)
        ledger = self._ledger_for_request()
        decision = ledger.plan()
        if self._video_output is not None and not isinstance(decision, Attach):
            self._video_output.check()
            self._video_output.check_poster()
        if self._video_output is not None and isinstance(decision, Submit):
            existing = self._video_output.existing_video()
            if existing is not None:
                self._operator.log.info("%s exists already and is complete: nothing is submitted.", existing.path)
                return publish(self._context, video_result(Generation(""), **self._request_facts, saved=existing))
        with self._operator.hook.get_conn() as client:
            paid = self._get_or_submit(client, ledger, decision)
            self._announce(paid)
            if not self._options.wait_for_completion:
                return publish(self._context, self._submitted(paid))
            generation = paid.generation
            if generation is None or generation.outcome is Outcome.PENDING:
                generation = JobWait(self._operator).wait(client, self._trigger(paid.id, paid.submitted_at))
            return self._save(client, ledger, generation, paid.submitted_at)

    def resume(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Continues after a deferral: polls AnyFast once more, and downloads the video."""
        generation_id = event.get("job_id") or own_xcom(self._context, "generation_id")
        ledger = Ledger(self._store, max_tries=self._context["ti"].max_tries)
        started_at = float(event.get("started_at") or ledger.submitted_at(generation_id) or clock.now())
        self._show(generation_id)
        with self._operator.hook.get_conn() as client:
            generation = JobWait(self._operator).resume(client, self._trigger(generation_id, started_at), event)
            return self._save(client, ledger, generation, started_at)

    @property
    def _request_facts(self) -> dict[str, Any]:
        """The request's fields in the result."""
        return {"prompt": self._request.prompt, "parameters": self._request.given()}

    @cached_property
    def _video_output(self) -> VideoOutput | None:
        path = self._options.output_path
        return VideoOutput(path, self._options.overwrite, self._options.save_poster) if path is not None else None

    @property
    def _store(self) -> Store:
        return store_for(self._context, GENERATION_KEY, durable=self._options.durable)

    def _ledger_for_request(self) -> Ledger:
        """The ledger, for planning and submitting this attempt's request."""
        body, conn_id = self._request.body(), self._operator.anyfast_conn_id
        former = fingerprint_of(body, formerly_billed_to(conn_id, self._operator.hook.settings.base_url))
        return Ledger(
            self._store,
            max_tries=self._context["ti"].max_tries,
            fingerprint=fingerprint_of(body, conn_id),
            former_fingerprints=[former],
            traits=RequestTraits.of(body),
        )

    def _get_or_submit(self, client: AnyFastClient, ledger: Ledger, decision: Decision) -> PaidGeneration:
        lookup = Lookup(
            client,
            others=lambda: mapped_xcoms(self._context, "generation_id"),
            is_stopped=lambda: self._operator.stopped,
        )
        return get_or_submit(
            ledger,
            decision,
            submit=partial(self._submit, client),
            query=lambda generation_id: client.send(endpoints.query_generation(generation_id)),
            look_up=lookup.look_up,
            on_lost_submission=self._options.on_lost_submission,
            wait_if_unknown=True,
        )

    def _submit(self, client: AnyFastClient, guard: Guard) -> str:
        """Turns the files of the request into assets and submits it."""
        request = self._request
        library = library_for(
            self._context,
            client,
            request.asset_group,
            self._operator.anyfast_conn_id,
            is_stopped=lambda: self._operator.stopped,
            durable=self._options.durable,
        )
        if library is not None:
            library.obtain(request.files, is_strict=True)
            request = library.put_into(request)
        return submit(client, request, guard)

    def _announce(self, paid: PaidGeneration) -> None:
        """Publishes the id before anything else can fail, and on every attempt, since a retry clears XComs."""
        self._context["ti"].xcom_push("generation_id", paid.id)
        self._show(paid.id)
        count_obtained(reattached=paid.reattached)
        if paid.reattached:
            paid.log_resumption()
        else:
            price = self._operator.hook.settings.price_per_million_tokens
            estimate = describe_estimate(self._request.estimated_tokens(), price)
            self._operator.log.info("Submitted generation %s: %s; %s.", paid.id, self._request.describe(), estimate)

    def _show(self, generation_id: str) -> None:
        self._operator.submitted_id = generation_id
        self._operator.video_link = task_log_page(self._operator.hook.settings.base_url, generation_id)

    def _trigger(self, generation_id: str, submitted_at: float) -> VideoTrigger:
        """The wait. Its deadline counts from the submission; an attempt that starts after it gets a new deadline."""
        timeout, now = self._options.timeout, clock.now()
        deadline = submitted_at + timeout
        return VideoTrigger(
            job_id=generation_id,
            anyfast_conn_id=self._operator.anyfast_conn_id,
            started_at=submitted_at,
            deadline=deadline if deadline > now else now + timeout,
            poll_interval=self._options.poll_interval,
            kind=self._request.kind,
        )

    def _submitted(self, paid: PaidGeneration) -> dict[str, Any]:
        generation = paid.generation or Generation(paid.id, model=self._request.model)
        tokens = self._request.estimated_tokens()
        return video_result(generation, **self._request_facts, submitted_at=paid.submitted_at, estimated_tokens=tokens)

    def _save(
        self, client: AnyFastClient, ledger: Ledger, generation: Generation, submitted_at: float
    ) -> dict[str, Any]:
        """The result of a generation that has ended, with its file if there is an ``output_path``."""
        operator, log = self._operator, self._operator.log
        if generation.outcome is Outcome.FAILED:
            ledger.mark_closed(generation.generation_id)
            raise generation_failure(generation)
        operator.video_link = link_of(generation)
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
            estimated_tokens=self._request.estimated_tokens(),
            price=client.settings.price_per_million_tokens,
        )
        seconds = (generation.finished_at or clock.now()) - submitted_at
        log.info("Generation %s took %.0f s: %s.", generation.generation_id, seconds, describe_result(result))
        for warning in result["warnings"]:
            log.warning("Generation %s: %s", generation.generation_id, warning)
        if saved is not None:
            operator.video_link = page_of_task(self._context["ti"]) or operator.video_link
            emit_asset_events(self._context, operator.outlets, saved.uri, result)
            operator.lineage_uris = (asset_uris(self._request.references, client.settings.base_url), [saved.uri])
        return publish(self._context, result)


def download_video(operator: DownloadVideoOperator, given: DownloadParameters, context: Context) -> dict[str, Any]:
    """Requests the link of a finished video and downloads the video."""
    with operator.hook.get_conn() as client:
        output = VideoOutput(given.output_path, given.overwrite, given.save_poster)
        output.check()
        generation = client.send(endpoints.query_generation(given.generation_id))
        if generation.outcome is Outcome.FAILED:
            raise generation_failure(generation)
        if generation.outcome is Outcome.PENDING and not generation.lacks_link:
            raise GenerationTimeoutError(
                f"Generation {generation.generation_id} is not finished ({generation.status}).",
                cost=Cost.NOTHING,
                advice="Put a VideoStatusSensor before this task. A retry of this task asks again.",
            )
        operator.video_link = link_of(generation)
        saved = output.save(client, generation)
        result = video_result(generation, saved=saved, price=client.settings.price_per_million_tokens)
        operator.video_link = page_of_task(context["ti"]) or operator.video_link
        emit_asset_events(context, operator.outlets, saved.uri, result)
        host = urlsplit(client.settings.base_url).netloc
        operator.lineage_uris = ([f"anyfast://{host}/{generation.generation_id}"], [saved.uri])
        return publish(context, result)
