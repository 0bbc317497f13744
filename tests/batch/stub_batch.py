"""A batch without Airflow and without a server: a client that responds from memory, and stores that count accesses."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from airflow_provider_anyfast.batch.checkpoint import BatchCheckpoint, RowIndex
from airflow_provider_anyfast.batch.manifest import Manifest
from airflow_provider_anyfast.batch.options import BatchOptions, BatchParameters
from airflow_provider_anyfast.batch.queue import BatchLifecycle
from airflow_provider_anyfast.batch.runner import BatchRunner
from airflow_provider_anyfast.batch.segment import SegmentStart
from airflow_provider_anyfast.batch.source import RowSource
from airflow_provider_anyfast.client.errors import NotFoundError
from airflow_provider_anyfast.client.responses import Generation, Outcome, Usage
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.files.paths import stored_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from airflow_provider_anyfast.batch.manifest import ManifestEntry
    from airflow_provider_anyfast.client.endpoints import Call
    from airflow_provider_anyfast.client.errors import AnyFastError
    from airflow_provider_anyfast.client.transport import Guard
    from airflow_provider_anyfast.ledger.record import Store

TEMPLATE = {"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4}


def rows_of(number: int) -> list[dict[str, Any]]:
    return [{"name": f"boat {n}"} for n in range(number)]


def written_manifest(folder: Path, entries: Iterable[ManifestEntry]) -> str:
    """Writes a manifest of these entries into ``folder``, and returns its text."""
    file = stored_file(f"{folder}/manifest.jsonl", "manifest_path")
    manifest = Manifest(file, attempt=1)
    for entry in entries:
        manifest.add(entry)
    manifest.write()
    return file.read_text() or ""


class StubClient:
    """AnyFast in memory. ``finish`` ends videos; ``answer`` may replace a response, or raise."""

    settings = Settings("key")
    server_ahead = 0.0
    is_sandbox = False

    def __init__(self, answer: Callable[[Call[Any]], Any] | None = None) -> None:
        self.generations: dict[str, Outcome] = {}
        self.calls = Counter[str]()
        self.asked: list[str] = []
        self._answer = answer
        self._lock = Lock()

    def send_once(self, call: Call[Any]) -> Any:
        """The pages about money, which it does not offer."""
        raise NotFoundError(f"{call.name}: Invalid URL", status=404)

    def send(self, call: Call[Any], guard: Guard = nullcontext) -> Any:
        with guard(), self._lock:
            self.calls[call.method] += 1
            if self._answer is not None and (odd := self._answer(call)) is not None:
                return odd
            if call.method == "POST":
                id_ = f"asyntask_{len(self.generations):032d}"
                self.generations[id_] = Outcome.PENDING
                return id_
            id_ = call.path.rpartition("/")[2]
            self.asked.append(id_)
            usage = Usage(total_tokens=7)
            return Generation(generation_id=id_, status="?", outcome=self.generations[id_], seed=5, usage=usage)

    def finish(self, number: int) -> list[str]:
        """Lets so many of those that are rendering succeed, and says which."""
        ids = [id_ for id_, outcome in self.generations.items() if outcome is Outcome.PENDING][:number]
        self.generations.update(dict.fromkeys(ids, Outcome.SUCCEEDED))
        return ids


class Shelf:
    """Stores by name, as JSON, that count reads and writes."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.reads = Counter[str]()
        self.writes = Counter[str]()

    def __call__(self, name: str) -> Store:
        return _Kept(self, name)


@dataclass
class _Kept:
    shelf: Shelf
    name: str

    def get(self) -> Any:
        self.shelf.reads[self.name] += 1
        text = self.shelf.kept.get(self.name)
        return None if text is None else json.loads(text)

    def set(self, value: dict[str, Any]) -> None:
        self.shelf.writes[self.name] += 1
        self.shelf.kept[self.name] = json.dumps(value)

    def delete(self) -> None:
        self.shelf.kept.pop(self.name, None)


class NoEvents:
    """Ignores all events."""

    def progress(self, runner: BatchRunner) -> None: ...

    def submitted(self) -> None: ...

    def succeeded(self, generation: Generation) -> None: ...

    def failed(self, error: AnyFastError) -> None: ...


@dataclass
class StubBatch:
    """One task instance; every ``segment`` is a separate worker that knows only the stored state."""

    folder: Path
    rows: list[dict[str, Any]]
    client: StubClient = field(default_factory=StubClient)
    shelf: Shelf = field(default_factory=Shelf)
    max_active: int | None = None
    max_in_flight: int = 4
    attempt: int = 1
    max_tries: int = 2
    template: dict[str, Any] = field(default_factory=lambda: dict(TEMPLATE))
    billed_to: str = "anyfast_default"
    began_at: float = 1_000.0
    timeout: float = 366 * 86_400.0
    course: str = ""
    """The XComs of the attempt, as JSON."""
    index: str = ""
    rendered: int = 0

    def segment(self, ended: list[str] | None = None, lifecycle: BatchLifecycle | None = None) -> BatchRunner:
        """Runs one worker segment, and stores what the next one needs."""
        checkpoint = (
            BatchCheckpoint.from_xcom(json.loads(self.course)) if self.course else BatchCheckpoint(self.began_at)
        )
        start = SegmentStart(
            source=_CountingSource(
                self.rows,
                self.options().given,
                Environment(),
                {},
                self.billed_to,
                "anyfast_default https://host",
                batch=self,
            ),
            store_of=self.shelf,
            manifest=stored_file(self.manifest, "manifest_path"),
            claim=lambda _: None,
            index=RowIndex.from_xcom(json.loads(self.index)) if self.index else None,
        )
        options = self.options()
        segment = start.segment(checkpoint, None if ended is None else frozenset(ended), options)
        lifecycle = lifecycle or BatchLifecycle(checkpoint.closed_by)
        runner = BatchRunner(options, segment, self.client, lifecycle, NoEvents())  # type: ignore[arg-type]
        runner.run()
        self.course = json.dumps(runner.checkpoint(None).to_xcom())
        assert start.index is not None
        self.index = json.dumps(start.index.to_xcom())
        return runner

    def retry(self) -> None:
        """Starts the next attempt, for which Airflow keeps the ledger and the files, but no XCom."""
        self.attempt += 1
        self.course = self.index = ""

    def clear(self) -> None:
        """Starts the first attempt after a clear."""
        self.max_tries += 1
        self.retry()

    @property
    def manifest(self) -> str:
        return f"{self.folder}/manifest.jsonl"

    def entries(self) -> list[dict[str, Any]]:
        with open(self.manifest, encoding="utf-8") as file:  # noqa: PTH123 - the path is a text here
            return [json.loads(line) for line in file]

    def options(self) -> BatchOptions:
        return BatchOptions(
            given=BatchParameters(
                template=self.template,
                timeout=self.timeout,
                max_in_flight=self.max_in_flight,
                max_active=self.max_active,
            ),
            identity="dag run task -1",
            attempt=self.attempt,
            max_tries=self.max_tries,
            began_at=self.began_at,
        )


@dataclass
class _CountingSource(RowSource):
    """Counts the rows that it renders."""

    batch: StubBatch | None = None

    def _prepare(self, rows: Any) -> Any:
        assert self.batch is not None
        self.batch.rendered += len(rows)
        return super()._prepare(rows)
