"""What a batch costs by the number of its rows: the real operator under Airflow's own task runner, AnyFast in memory.

The task resumes as often as its trigger would resume it: once as many videos have ended as it waits for.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import statistics
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.batch.stub_batch import TEMPLATE, StubClient, rows_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from airflow.triggers.base import TriggerEvent

    from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
    from airflow_provider_anyfast.triggers.video import VideosTrigger
    from tests.support.task_run import Attempt, TaskRunner

MAX_ACTIVE = (100, None)
"""Videos that may render at a time; None submits every row in the first segment."""
FLUSHES = 5
IDLE_SEGMENTS = 3


@dataclass(frozen=True)
class Batch:
    """One batch from its first segment to its end."""

    rows: int
    way: str
    segments: int
    flushes: int
    """Writes of the manifest."""
    asked: int
    """Polls of videos."""
    seconds: float
    cpu: float
    idle_ms: float
    """CPU of a later segment that has nothing to do, Airflow's task runner included."""
    us_a_row: float
    """CPU of all segments, by row."""
    exponent: float | None
    """Exponent of the growth of the CPU time since the previous number of rows; 1 is linear."""
    flush_us: float
    """CPU of one write of the full manifest, by row."""
    loop_held: float
    """CPU milliseconds of the longest step of the triggerer's event loop while the first segment's trigger starts."""


@dataclass
class _Counted:
    """Counts while a batch runs."""

    flushes: int = 0
    idle: list[float] = field(default_factory=list)


def batches(sizes: Sequence[int]) -> Iterator[Batch]:
    """A batch of each size for each ``max_active``."""
    with tempfile.TemporaryDirectory() as home:
        # Airflow reads both when it is imported.
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        logging.disable(logging.CRITICAL)
        for max_active in MAX_ACTIVE:
            before: tuple[int, float] | None = None
            for rows in sizes:
                with tempfile.TemporaryDirectory() as folder:
                    found = _batch(Path(folder), rows, max_active, before)
                before = (rows, found.cpu)
                yield found


def _batch(folder: Path, rows: int, max_active: int | None, before: tuple[int, float] | None) -> Batch:
    from airflow.sdk import Connection  # noqa: PLC0415 - once its home is known

    from tests.support.task_run import TaskRunner  # noqa: PLC0415 - once its home is known

    table = folder / "rows.csv"
    table.write_text("name\n" + "".join(f"{row['name']}\n" for row in rows_of(rows)))
    client, counted = StubClient(), _Counted()
    runner = TaskRunner(connections=[Connection(conn_id="anyfast_default", conn_type="anyfast", password="key")])  # noqa: S106 - of an AnyFast in memory

    def make() -> GenerateVideoBatchOperator:
        from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator  # noqa: PLC0415 - once its home is known

        manifest = f"{folder}/manifest.jsonl"
        return GenerateVideoBatchOperator(
            task_id="batch", rows=str(table), template=TEMPLATE, manifest_path=manifest, max_active=max_active,
            deferrable=True,
        )  # fmt: skip

    with _anyfast(client), _counting(counted):
        segments, seconds, cpu, loop_held = _run(runner, make, client, counted)
    return Batch(
        rows=rows,
        way=f"max_active={max_active}",
        segments=segments,
        flushes=counted.flushes,
        asked=len(client.asked),
        seconds=seconds,
        cpu=cpu,
        idle_ms=min(counted.idle) * 1e3,
        us_a_row=cpu / rows * 1e6,
        exponent=math.log(cpu / before[1]) / math.log(rows / before[0]) if before else None,
        flush_us=_flush(folder) / rows * 1e6,
        loop_held=loop_held * 1e3,
    )


def _run(runner: TaskRunner, make: Any, client: StubClient, counted: _Counted) -> tuple[int, float, float, float]:
    """Segments, seconds, CPU seconds and the longest step of the loop, without segments that have nothing to do."""
    began, cpu = time.perf_counter(), time.process_time()
    attempt, segments, loop_held = runner.attempt(make, run_trigger=False), 1, 0.0
    while attempt.state == "deferred":
        paused, cpu_paused = time.perf_counter(), time.process_time()
        if segments == 1:
            loop_held = statistics.median(asyncio.run(_loop_held(attempt)) for _ in range(3))
        if len(counted.idle) < IDLE_SEGMENTS:
            flushes = counted.flushes
            idle = time.process_time()
            attempt = runner.resume(make, event=_event([]), run_trigger=False)
            counted.idle.append(time.process_time() - idle)
            counted.flushes = flushes
        given = _trigger(attempt)
        ended = client.finish(given.min_finished or len(given.jobs))
        began += time.perf_counter() - paused
        cpu += time.process_time() - cpu_paused
        attempt = runner.resume(make, event=_event(ended), run_trigger=False)
        segments += 1
    if attempt.state != "success":
        raise RuntimeError(f"The batch ended as {attempt.state}: {attempt.error!r}")
    return segments, time.perf_counter() - began, time.process_time() - cpu, loop_held


def _event(ended: list[str]) -> dict[str, Any]:
    return {"ended": ended, "reason": ""}


def _trigger(attempt: Attempt) -> VideosTrigger:
    from airflow_provider_anyfast.triggers.video import VideosTrigger  # noqa: PLC0415 - once its home is known
    from tests.support.installed_airflow import read_kwargs  # noqa: PLC0415 - once its home is known

    if attempt.deferral is None:
        raise RuntimeError("The batch waits for nothing.")
    return VideosTrigger(**read_kwargs(attempt.deferral.trigger_kwargs))


async def _loop_held(attempt: Attempt) -> float:
    """CPU seconds of the longest step of the loop while a triggerer starts the trigger of ``attempt``."""
    longest, ended = 0.0, asyncio.Event()

    async def look() -> None:
        nonlocal longest
        last = time.thread_time()
        while not ended.is_set():
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(_first_event(attempt))
    await asyncio.wait([waiting], timeout=1.0)
    ended.set()
    waiting.cancel()
    await asyncio.gather(looking, waiting, return_exceptions=True)
    return longest


async def _first_event(attempt: Attempt) -> TriggerEvent:
    return await anext(_trigger(attempt).run())


def _flush(folder: Path) -> float:
    """CPU seconds of one more write of the whole manifest."""
    from airflow_provider_anyfast.batch.manifest import Manifest, Tally, from_text  # noqa: PLC0415 - once its home is known
    from airflow_provider_anyfast.files.paths import stored_file  # noqa: PLC0415 - once its home is known
    from airflow_provider_anyfast.ledger.fingerprint import short_digest  # noqa: PLC0415 - once its home is known

    file = stored_file(f"{folder}/manifest.jsonl", "manifest_path")
    text = file.read_text() or ""
    manifest = Manifest(file, 1)
    manifest.take_over(short_digest(text), Tally())
    (entry,) = from_text(text.partition("\n")[0])
    times = []
    for number in range(FLUSHES):
        manifest.add(replace(entry, row=1_000_000 + number))
        began = time.process_time()
        manifest.write()
        times.append(time.process_time() - began)
    return min(times)


@contextmanager
def _anyfast(client: StubClient) -> Iterator[None]:
    """Replaces the hook's client with AnyFast in memory."""
    from airflow_provider_anyfast.hooks.anyfast import AnyFastHook  # noqa: PLC0415 - once its home is known

    @contextmanager
    def get_conn(_: AnyFastHook) -> Iterator[StubClient]:
        yield client

    @asynccontextmanager
    async def shared_client(_: str) -> AsyncIterator[None]:
        yield None

    with (
        mock.patch.object(AnyFastHook, "get_conn", get_conn),
        mock.patch("airflow_provider_anyfast.triggers.multi.shared_client", shared_client),
    ):
        yield


@contextmanager
def _counting(counted: _Counted) -> Iterator[None]:
    from airflow_provider_anyfast.files.base import StoredFile  # noqa: PLC0415 - once its home is known

    write = StoredFile.write_text

    def write_text(file: StoredFile, text: str) -> None:
        counted.flushes += 1
        write(file, text)

    with mock.patch.object(StoredFile, "write_text", write_text):
        yield
