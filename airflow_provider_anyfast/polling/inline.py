"""Waiting in the task's own process, so that a signal can end the wait."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.polling.poller import JobT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from airflow_provider_anyfast.polling.watch import Watch

SLICE = 0.5
"""Seconds for which the task's thread sleeps at a time, so that a stopped task ends within a second."""
MAX_THREADS = 16
"""Polls at the same time."""


class PollThreads(Generic[JobT]):
    """Polls jobs in threads, so that the task's own thread can end the wait at any time.

    The threads are daemons: a poll without a response must not keep the process from ending.
    """

    def __init__(self, poll: Callable[[str], JobT], jobs: int) -> None:
        self._poll = poll
        self._threads = min(MAX_THREADS, jobs)
        self._job_ids: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[str, JobT | Exception]] = queue.SimpleQueue()
        self.in_flight = 0

    def __enter__(self) -> Self:
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"anyfast-poll-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._threads):
            self._job_ids.put(None)

    @property
    def is_busy(self) -> bool:
        """Whether every thread has a job to poll."""
        return self.in_flight >= self._threads

    def put(self, job_id: str) -> None:
        """Polls a job in one of the threads."""
        self.in_flight += 1
        self._job_ids.put(job_id)

    def results(self) -> Iterator[tuple[str, JobT | Exception]]:
        """The results so far; waits up to ``SLICE`` seconds for the first."""
        try:
            result = self._results.get(timeout=SLICE)
            while True:
                self.in_flight -= 1
                yield result
                result = self._results.get_nowait()
        except queue.Empty:
            return

    def _work(self) -> None:
        while (job_id := self._job_ids.get()) is not None:
            try:
                self._results.put((job_id, self._poll(job_id)))
            except Exception as error:  # noqa: BLE001 - the reader of the results handles it
                self._results.put((job_id, error))


def wait_inline(watch: Watch[JobT], poll: Callable[[str], JobT], is_over: Callable[[], bool]) -> None:
    """Polls the jobs of ``watch`` until ``is_over``, which is called at least every ``SLICE`` seconds.

    What ``is_over`` or a signal raises in this thread ends the wait at once.
    """
    with PollThreads(poll, watch.size) as threads:
        while not is_over():
            while not threads.is_busy and (job_id := watch.take_due(clock.now())) is not None:
                threads.put(job_id)
            if not threads.in_flight:
                clock.sleep(min(SLICE, watch.pause(clock.now())))
                continue
            for job_id, result in threads.results():
                if isinstance(result, Exception):
                    watch.on_error(job_id, result, clock.now())
                else:
                    watch.on_response(job_id, result, clock.now())
