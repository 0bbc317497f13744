"""Waits for a generation that another task submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import AnyFastError, WatchedGenerationFailedError
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.links.video import AnyFastVideoLink, task_log_page
from airflow_provider_anyfast.seedance.result import video_result
from airflow_provider_anyfast.sensors.base import JobSensor, SensorParameters
from airflow_provider_anyfast.triggers.video import VideoTrigger
from airflow_provider_anyfast.values import Id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from airflow_provider_anyfast.client.transport import AnyFastClient
    from airflow_provider_anyfast.values import TemplatedText


class _Parameters(SensorParameters):
    generation_id: Id = ""


class VideoStatusSensor(JobSensor[Generation]):
    """Succeeds when the video is finished, and fails at once if its generation has failed. Not billed.

    Args:
        generation_id: the XCom of this name of a ``GenerateVideoOperator(wait_for_completion=False)``.
        deferrable: waits in the triggerer, without holding a worker.
        poke_interval: seconds between polls, as a number, as text (``"15"``, ``"00:00:15"``) or as a ``timedelta``;
            at least 10 in mode ``reschedule``.
            AnyFast itself polls the model every 15 seconds.
        timeout: seconds from the first poke, in the same forms.
        anyfast_conn_id: a connection of the account that submitted the video.

    Returns:
        The same fields as ``GenerateVideoOperator``.

    Raises:
        InvalidRequestError: a parameter is invalid; values without a template are checked while the DAG is parsed.
        GenerationFailedError, ModerationError: the generation failed; polling again does not help.
        GenerationNotFoundError: AnyFast does not know the id, in several responses over two minutes.
        AirflowSensorTimeout: the video was not finished in time. AnyFast still finishes and bills it.
    """

    template_fields: Sequence[str] = ("generation_id", "anyfast_conn_id")
    operator_extra_links = (AnyFastVideoLink(),)
    video_link = ""
    ui_color = "#e8f0ff"

    parameters = _Parameters
    trigger_class = VideoTrigger

    def __init__(self, *, generation_id: TemplatedText, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generation_id = generation_id
        self._price: Decimal | None = None
        self.check_parameters()

    def connect(self) -> AnyFastClient:
        """A new client. Also links "Open video" to AnyFast's task log, from the first poll on."""
        client = super().connect()
        self._price = client.settings.price_per_million_tokens
        self.video_link = task_log_page(client.settings.base_url, str(self.generation_id))
        return client

    def job_id(self, given: _Parameters) -> str:
        """The id of the generation."""
        return given.generation_id

    def conclude(self, job: Generation) -> dict[str, Any]:
        """The result of the generation; raises if it failed."""
        if job.outcome is Outcome.FAILED:
            raise self._failure(job)
        self.video_link = job.video_url or self.video_link
        return video_result(job, price=self._price)

    @staticmethod
    def _failure(job: Generation) -> AnyFastError:
        """Why the generation failed. A sensor cannot submit another, so a retry of the sensor does not help."""
        failure = generation_failure(job)
        if not failure.retryable:
            return failure
        return WatchedGenerationFailedError(
            failure.what, code=failure.code, request_id=failure.request_id, generation_id=failure.generation_id
        )
