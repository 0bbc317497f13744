"""The videos of a DAG run, from what its tasks have stored: results, manifests, and generations in flight."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.checkpoint import active_in
from airflow_provider_anyfast.batch.claim import CLAIM_KEY
from airflow_provider_anyfast.batch.manifest import LOST, SKIPPED, SUCCEEDED, ManifestEntry, from_text
from airflow_provider_anyfast.batch.table import named_by
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.responses import Usage
from airflow_provider_anyfast.files.local_file import LocalFile
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.links.page import served_as
from airflow_provider_anyfast.links.report import REPORT_KEY
from airflow_provider_anyfast.plugins.airflow_records import RETURN_VALUE, TaskRecord
from airflow_provider_anyfast.seedance.pricing import billed_tokens
from airflow_provider_anyfast.seedance.request import REFERENCES
from airflow_provider_anyfast.xcoms import CHECKPOINT_KEY, PROGRESS_KEY, REJECTED_KEY, REVIEW_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

READY, UNSAVED, RENDERING, FAILED, UNKNOWN = "ready", "unsaved", "rendering", "failed", "unknown"
"""Kinds of status, by which the page colors and filters."""
_REQUESTED = ("model", "resolution", "ratio", "duration", "seed")
_ACTUAL = ("resolution", "ratio", "duration", "seed", "width", "height", "seconds", "has_sound")
_LONGEST_CELL = 200
_ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
_WAITING = ("awaiting_input", "deferred")


@dataclass(frozen=True)
class Video:
    """A video as the page shows it.

    Attributes:
        row: its number in the table; 0 for a task of one video.
        name: the value of the key column of its row.
        key: its name in the response to a review.
        kind, status: the kind of its status, and the text.
        warnings: how it differs from the request.
        path, poster: where its files are; they never leave the server.
    """

    task_id: str
    map_index: int
    row: int
    kind: str
    status: str
    key: str = ""
    generation_id: str = ""
    prompt: str = ""
    name: str = ""
    input: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, Any] = field(default_factory=dict)
    actual: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    cost: str | None = None
    error: str = ""
    warnings: Sequence[str] = ()
    path: str = ""
    poster: str = ""

    @property
    def id(self) -> str:
        """Its name in URLs. Another file gets another URL, so a browser may cache what it has loaded."""
        place = "\n".join((self.task_id, str(self.map_index), str(self.row), self.generation_id, self.path))
        return sha256(place.encode(errors="surrogatepass")).hexdigest()[:24]

    def to_json(self) -> dict[str, Any]:
        """The JSON for the page, without paths and AnyFast's links."""
        hidden = {"path": bool(self.path), "poster": bool(self.poster)}
        return {**self.__dict__, **hidden, "id": self.id}


@dataclass(frozen=True)
class RunVideos:
    """Everything that the page shows about a run.

    Attributes:
        batches: the progress of each batch.
        reviews: the reviews of videos.
        problems: messages about what could not be read.
        documents: the paths of reports, of their tables, and of manifests.
    """

    videos: Sequence[Video]
    batches: Sequence[dict[str, Any]] = ()
    reviews: Sequence[dict[str, Any]] = ()
    problems: Sequence[str] = ()
    documents: Collection[str] = ()

    def path_of(self, place: str) -> str:
        """The path of the file that a URL names; empty if the run has no such file."""
        media = (path for video in self.videos for path in (video.path, video.poster))
        return next((path for path in (*self.documents, *media) if path and served_as(path) == place), "")


def videos_of(records: Iterable[TaskRecord]) -> RunVideos:
    """Collects the videos of a run from its tasks and their manifests."""
    records = list(records)
    videos: list[Video] = []
    problems: list[str] = []
    read: set[str] = set()
    reports = [str(record.xcoms[REPORT_KEY]) for record in records if record.xcoms.get(REPORT_KEY)]
    for record in records:
        for path in _manifests_of(record):
            if path in read:
                continue
            read.add(path)
            try:
                videos += _of_manifest(record, path)
            except AnyFastError as error:
                problems.append(error.what)
        if CLAIM_KEY not in record.xcoms and REVIEW_KEY not in record.xcoms:
            videos += _of_task(record)
    documents = [*reports, *(f"{path.rpartition('.')[0]}.csv" for path in reports), *read]
    return RunVideos(_each_once(videos), _batches(records), _reviews(records), problems, documents)


def _manifests_of(record: TaskRecord) -> Iterator[str]:
    """The paths of a task's manifests, as the task has stored them."""
    claim, returned, review = (record.xcoms.get(key) for key in (CLAIM_KEY, RETURN_VALUE, REVIEW_KEY))
    if isinstance(claim, dict):
        returned = returned if isinstance(returned, dict) else {}
        if path := returned.get("manifest_path") or claim.get("path"):
            yield str(path)
    if isinstance(review, dict):
        yield from map(str, review.get("manifests") or ())


def _of_manifest(record: TaskRecord, path: str) -> Iterator[Video]:
    file = stored_file(path, "manifest_path")
    entries = from_text(file.read_text() or "") if file.size() is not None else []
    for entry in entries:
        yield _of_entry(record, entry, is_local=isinstance(file, LocalFile))
    ended = {entry.row for entry in entries}
    active = () if record.state in _ENDED else active_in(record.xcoms.get(CHECKPOINT_KEY))
    for row, generation_id, *_ in active:
        if row not in ended:
            yield Video(
                record.task_id, record.map_index, row, RENDERING, "Rendering", generation_id, str(generation_id)
            )


def _of_entry(record: TaskRecord, entry: ManifestEntry, *, is_local: bool) -> Video:
    kind, status = {
        SUCCEEDED: (READY, "Ready"),
        SKIPPED: (READY, "Ready, already there"),
        LOST: (UNKNOWN, "May have been billed; its id is unknown"),
    }.get(entry.status, (FAILED, "Failed; a retry tries again" if entry.retryable else "Failed"))
    if kind is READY and not entry.result.get("path"):
        kind, status = UNSAVED, "Ready, not saved to a file"
    found = _of_result(record, entry.result, kind, status, row=entry.row, error=entry.error or "")
    cells = {str(name): str(value)[:_LONGEST_CELL] for name, value in entry.input.items() if value is not None}

    def allowed(path: str) -> str:
        return path if is_local or "://" in path else ""  # a writer of the bucket must not choose local files

    _, name = named_by(entry.input, entry.key_column)
    return replace(found, path=allowed(found.path), poster=allowed(found.poster), name=name, input=cells)


def _of_task(record: TaskRecord) -> Iterator[Video]:
    returned = record.xcoms.get(RETURN_VALUE)
    if isinstance(returned, dict) and "generation_id" in returned:
        if returned.get("path"):
            kind, status = READY, "Ready"
        elif returned.get("video_url"):
            kind, status = UNSAVED, "Ready, not saved to a file"
        else:
            kind, status = RENDERING, "Submitted"
        yield _of_result(record, returned, kind, status)
    elif "generation_id" in record.xcoms:
        kind, status = {
            "success": (READY, "Ready") if record.xcoms.get("path") else (UNSAVED, "Ready, not saved to a file"),
            "failed": (FAILED, "Failed"),
            "up_for_retry": (RENDERING, "Waiting for a retry"),
        }.get(record.state, (RENDERING, "Rendering"))
        given = {name: value for name, value in record.rendered.items() if value not in (None, "", "None", [], "[]")}
        result = {
            "generation_id": record.xcoms["generation_id"],
            "path": record.xcoms.get("path"),  # for a result that is stored outside of Airflow's database
            "prompt": given.get("prompt"),
            "parameters": given,
        }
        yield _of_result(record, result, kind, status)


def _of_result(
    record: TaskRecord, result: Mapping[str, Any], kind: str, status: str, *, row: int = 0, error: str = ""
) -> Video:
    requested = result.get("parameters")
    requested = requested if isinstance(requested, dict) else {}
    usage = result.get("usage")
    references = sum(
        len(value) if isinstance(value, list) else 1 for name in REFERENCES if (value := requested.get(name))
    )
    return Video(
        record.task_id,
        record.map_index,
        row,
        kind,
        status,
        key=str(result.get("generation_id") or result.get("path") or ""),
        generation_id=str(result.get("generation_id") or ""),
        prompt=str(result.get("prompt") or requested.get("prompt") or ""),
        requested=_facts(requested, _REQUESTED) | ({"references": references} if references else {}),
        actual=_facts(result, _ACTUAL) if kind in (READY, UNSAVED) else {},
        tokens=billed_tokens(Usage.model_validate(usage)) if isinstance(usage, dict) else None,
        cost=None if result.get("cost") is None else str(result["cost"]),
        error=error,
        warnings=[str(warning) for warning in result.get("warnings") or ()],
        path=str(result.get("path") or "") if kind is READY else "",
        poster=str(result.get("poster_path") or result.get("last_frame_path") or "") if kind is READY else "",
    )


def _facts(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names if isinstance(found.get(name), str | int | float)}


def _each_once(videos: Iterable[Video]) -> list[Video]:
    """One entry for each generation: from the task that has the file, otherwise from the first that names it."""
    found: dict[str, Video] = {}
    for video in videos:
        key = video.generation_id or video.id
        if key not in found or (video.path and not found[key].path):
            found[key] = video
    return list(found.values())


def _batches(records: Iterable[TaskRecord]) -> list[dict[str, Any]]:
    return [
        {
            "task_id": record.task_id,
            "map_index": record.map_index,
            "state": record.state,
            "progress": {name: n for name, n in record.xcoms[PROGRESS_KEY].items() if isinstance(n, int)},
        }
        for record in records
        if isinstance(record.xcoms.get(PROGRESS_KEY), dict)
    ]


def _reviews(records: Iterable[TaskRecord]) -> list[dict[str, Any]]:
    found = []
    for record in records:
        review = record.xcoms.get(REVIEW_KEY)
        if not isinstance(review, dict):
            continue
        rejected = record.xcoms.get(REJECTED_KEY)
        found.append(
            {
                "task_id": record.task_id,
                "map_index": record.map_index,
                "state": record.state,
                "waits": record.state in _WAITING,
                "question": str(review.get("question", "")),
                "videos": [str(key) for key in review.get("videos") or ()],
                "rejected": [item.get("generation_id") for item in rejected] if isinstance(rejected, list) else None,
            }
        )
    return found
