"""Waits for a generation in the triggerer."""

from __future__ import annotations

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import GenerationTimeoutError
from airflow_provider_anyfast.client.models import VideoTask
from airflow_provider_anyfast.jobs.poller import VIDEO_SCHEDULE
from airflow_provider_anyfast.triggers.base import JobTrigger
from airflow_provider_anyfast.triggers.many import JobsTrigger


class VideoTrigger(JobTrigger[VideoTask]):
    """Fires when a generation has succeeded or failed, or its deadline has passed."""

    noun = "Generation"
    schedule = VIDEO_SCHEDULE
    timeout_error = GenerationTimeoutError
    outlook = (
        "AnyFast has no cancel: it goes on making the video and bills it. The next attempt waits for the same one, and "
        "nothing is paid again."
    )

    def call(self) -> endpoints.Call[VideoTask]:
        """How the generation is asked for."""
        return endpoints.query_generation(self.job_id)

    async def on_kill(self) -> None:
        """AnyFast has no cancel, so this can only say what goes on."""
        self.log.warning(
            "This task no longer waits for generation %s. AnyFast has no cancel: the video is made and billed all the "
            "same. A retry or a clear of the task goes on with it.",
            self.job_id,
        )


class VideosTrigger(JobsTrigger[VideoTask]):
    """Fires when enough of these generations have ended, or their deadlines have passed."""

    one = VideoTrigger

    async def on_kill(self) -> None:
        """AnyFast has no cancel, so this can only say what goes on."""
        self.log.warning(
            "This task no longer waits for %d generations. AnyFast has no cancel: the videos are made and billed all "
            "the same. A retry or a clear of the task goes on with them.",
            len(self.jobs),
        )
