"""Waiting in the process of the task itself, in a way that a signal can end."""

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
"""Seconds for which the thread of the task waits at a time, so that a task that is stopped ends within a second."""
MAX_THREADS = 16
"""Questions at the same time."""


class Asker(Generic[JobT]):
    """Asks about jobs in threads, so that the thread of the task stays free to end the wait.

    The threads are daemons: a question without an answer must not keep the process from ending.
    """

    def __init__(self, ask: Callable[[str], JobT], jobs: int) -> None:
        self._ask = ask
        self._threads = min(MAX_THREADS, jobs)
        self._questions: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[str, JobT | Exception]] = queue.SimpleQueue()
        self.in_flight = 0

    def __enter__(self) -> Self:
        for number in range(self._threads):
            threading.Thread(target=self._work, name=f"anyfast-poll-{number}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in range(self._threads):
            self._questions.put(None)

    @property
    def is_busy(self) -> bool:
        """Whether every thread has a question."""
        return self.in_flight >= self._threads

    def put(self, job_id: str) -> None:
        """Asks about a job."""
        self.in_flight += 1
        self._questions.put(job_id)

    def answers(self) -> Iterator[tuple[str, JobT | Exception]]:
        """The answers that have come; waits for one for ``SLICE`` seconds."""
        try:
            answer = self._answers.get(timeout=SLICE)
            while True:
                self.in_flight -= 1
                yield answer
                answer = self._answers.get_nowait()
        except queue.Empty:
            return

    def _work(self) -> None:
        while (job_id := self._questions.get()) is not None:
            try:
                self._answers.put((job_id, self._ask(job_id)))
            except Exception as error:  # noqa: BLE001 - whoever takes the answers judges it
                self._answers.put((job_id, error))


def wait_here(watch: Watch[JobT], ask: Callable[[str], JobT], is_over: Callable[[], bool]) -> None:
    """Asks about the jobs of ``watch`` until ``is_over``, which is called at least every ``SLICE`` seconds.

    What ``is_over`` or a signal raises in this thread ends the wait at once.
    """
    with Asker(ask, watch.size) as asker:
        while not is_over():
            while not asker.is_busy and (job_id := watch.take_due(clock.now())) is not None:
                asker.put(job_id)
            if not asker.in_flight:
                clock.sleep(min(SLICE, watch.pause(clock.now())))
                continue
            for job_id, answer in asker.answers():
                if isinstance(answer, Exception):
                    watch.failed(job_id, answer, clock.now())
                else:
                    watch.answered(job_id, answer, clock.now())


def ask_all(job_ids: list[str], ask: Callable[[str], JobT], check: Callable[[], None]) -> dict[str, JobT | Exception]:
    """The answer about each job, asked once, or what was raised instead.

    ``check`` is called at least every ``SLICE`` seconds, and may raise to end it.
    """
    answers: dict[str, JobT | Exception] = {}
    with Asker(ask, len(job_ids)) as asker:
        for job_id in job_ids:
            asker.put(job_id)
        while len(answers) < len(job_ids):
            check()
            answers.update(asker.answers())
    return answers
