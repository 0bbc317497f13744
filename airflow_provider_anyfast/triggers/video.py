"""Waits for a generation in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import GenerationTimeoutError
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.polling.learned import CompletionTimes
from airflow_provider_anyfast.polling.schedule import VIDEO_SCHEDULE
from airflow_provider_anyfast.triggers.base import JobTrigger
from airflow_provider_anyfast.triggers.multi import JobsTrigger

if TYPE_CHECKING:
    from airflow_provider_anyfast.polling.schedule import Timing

_completion_times: dict[tuple[str, str], CompletionTimes] = {}
"""What this process has seen, by connection and kind of video."""


class VideoTrigger(JobTrigger[Generation]):
    """Fires when a generation has succeeded or failed, or its deadline has passed."""

    label = "Generation"
    schedule = VIDEO_SCHEDULE
    timeout_error = GenerationTimeoutError
    hint = (
        "AnyFast has no cancel: it goes on making the video and bills it. The next attempt waits for the same one, and "
        "nothing is paid again."
    )

    def call(self) -> endpoints.Call[Generation]:
        """How the generation is asked for."""
        return endpoints.query_generation(self.job_id)

    def timing(self) -> Timing:
        """The schedule for all videos, until this process has seen enough of the same kind and connection."""
        return self._times() if self.kind else self.schedule

    def learn(self, job: Generation) -> None:
        """Remembers how long the video took."""
        if self.kind and job.outcome is Outcome.SUCCEEDED and job.finished_at is not None:
            self._times().add(job.finished_at - (job.submitted_at or self.started_at))

    def _times(self) -> CompletionTimes:
        return _completion_times.setdefault((self.anyfast_conn_id, self.kind), CompletionTimes(self.schedule))

    async def on_kill(self) -> None:
        """AnyFast has no cancel, so this can only say what goes on."""
        self.log.warning(
            "This task no longer waits for generation %s. AnyFast has no cancel: the video is made and billed all the "
            "same. A retry or a clear of the task goes on with it.",
            self.job_id,
        )


class VideosTrigger(JobsTrigger[Generation]):
    """Fires when enough of these generations have ended, or their deadlines have passed."""

    trigger_class = VideoTrigger

    async def on_kill(self) -> None:
        """AnyFast has no cancel, so this can only say what goes on."""
        self.log.warning(
            "This task no longer waits for %d generations. AnyFast has no cancel: the videos are made and billed all "
            "the same. A retry or a clear of the task goes on with them.",
            len(self.jobs),
        )
