"""Waits for a generation in the triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import GenerationTimeoutError
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.polling.learned import CompletionTimes
from airflow_provider_anyfast.polling.schedule import SANDBOX, video_schedule
from airflow_provider_anyfast.triggers.base import JobTrigger
from airflow_provider_anyfast.triggers.multi import JobsTrigger
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from airflow_provider_anyfast.polling.schedule import Timing

_completion_times: dict[tuple[str, str], CompletionTimes] = {}
"""What this process has learned, by connection and kind of video."""


class VideoTrigger(JobTrigger[Generation]):
    """Fires when a generation has succeeded or failed, or its deadline has passed."""

    label = "Generation"
    creation = "submission"
    timeout_error = GenerationTimeoutError

    @classmethod
    def call(cls, job_id: str) -> endpoints.Call[Generation]:
        """The request that polls a generation."""
        return endpoints.query_generation(job_id)

    @classmethod
    def timing(cls, anyfast_conn_id: str, kind: str) -> Timing:
        """The default schedule for such videos, until this process has seen enough of the same kind and connection."""
        return _times(anyfast_conn_id, kind) if kind else video_schedule(kind)

    @classmethod
    def learn(cls, anyfast_conn_id: str, kind: str, job: Generation, started_at: float) -> None:
        """Remembers how long the video took, unless it is a sandbox's, whose user sets how long it takes."""
        if kind not in ("", SANDBOX) and job.outcome is Outcome.SUCCEEDED and job.finished_at is not None:
            _times(anyfast_conn_id, kind).add(job.finished_at - (job.submitted_at or started_at))

    async def on_kill(self) -> None:
        """AnyFast cannot cancel a generation, so this only logs what continues."""
        self.log.warning(
            "This task no longer waits for generation %s. AnyFast cannot cancel it: it will finish and be billed. A "
            "retry or a clear of the task resumes it.",
            self.job_id,
        )


class VideosTrigger(JobsTrigger[Generation]):
    """Fires when enough of these generations have ended, or their deadlines have passed."""

    trigger_class = VideoTrigger

    async def on_kill(self) -> None:
        """AnyFast cannot cancel a generation, so this only logs what continues."""
        self.log.warning(
            "This task no longer waits for %s. AnyFast cannot cancel a generation: each will finish and be billed. A "
            "retry or a clear of the task waits for them again.",
            counted(len(self.jobs), "generation"),
        )


def _times(anyfast_conn_id: str, kind: str) -> CompletionTimes:
    return _completion_times.setdefault((anyfast_conn_id, kind), CompletionTimes(video_schedule(kind)))
