"""A person's review of drafts: the question, the meaning of the response, and the rows of the finals."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.batch.manifest import SKIPPED, SUCCEEDED, from_text
from airflow_provider_anyfast.batch.table import named_by
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.ledger.fingerprint import short_digest
from airflow_provider_anyfast.seedance.request import LEFT_OUT
from airflow_provider_anyfast.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_anyfast.batch.manifest import ManifestEntry

APPROVE, REJECT = "Approve the selected videos", "Reject all"
"""The options of the form."""
VIDEOS, NOTES = "videos", "notes"
"""The fields of the form: keys of the selected videos, and a note for each key or row."""
_ALL = "all "
"""Prefix of the form's entry that selects every video. The digest after it ties the entry to its question."""
_SHOWN = 50
"""Maximum number of videos that the text of a question lists."""
_LABEL = 80
"""Maximum characters of a prompt in a list."""
_WRITTEN_AS_TEXT = str.maketrans({sign: f"\\{sign}" for sign in r"\`*_{}[]()<>#+-.!|~&:@"})
"""Escapes Markdown in a prompt, so that it cannot become a link or a picture."""


@dataclass(frozen=True)
class Draft:
    """A finished video to be reviewed.

    Attributes:
        row: its number in the table, or its place among the results.
        input: the row of the table; empty for a video that does not come from a table.
        result: as of ``GenerateVideoOperator``.
        key_column: the column whose value names the row; None takes the first one.
    """

    row: int
    input: dict[str, Any]
    result: dict[str, Any]
    key_column: str | None = None

    @property
    def key(self) -> str:
        """Identifies this video, so that a response about an earlier one does not apply to it."""
        return str(self.result.get("generation_id") or self.result.get("path") or "")

    @property
    def prompt(self) -> str:
        """The prompt in one line."""
        return " ".join(str(self.result.get("prompt") or "").split())

    @property
    def label(self) -> str:
        """The name of the video in a list."""
        _, name = named_by(self.input, self.key_column)
        row = f"{self.row} ({name})" if name else f"{self.row}"
        return f"{row}: {_shortened(self.prompt) or self.key}"


@dataclass(frozen=True)
class Answer:
    """A person's response, or Airflow's default if nobody responded.

    Attributes:
        option: the chosen button.
        videos: the keys of the selected videos.
        notes: by key or by the number of a row.
        timed_out: whether nobody responded in time.
        question: digest of the videos in the question.
    """

    option: str
    videos: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    timed_out: bool = False
    question: str = ""

    @classmethod
    def of_event(cls, event: Mapping[str, Any], question: str) -> Answer:
        """The response in the event with which Airflow resumes a task.

        Raises:
            InvalidRequestError: the form contains values that its fields do not allow.
        """
        given = event.get("params_input") or {}
        videos, notes = given.get(VIDEOS) or [], given.get(NOTES) or {}
        if not isinstance(videos, list) or not isinstance(notes, dict):
            raise InvalidRequestError(
                f"The answer has {VIDEOS}={videos!r} and {NOTES}={notes!r}: a list of videos, and an object with a "
                f"note per row, are expected. No final was made.",
                advice="Clear this task to ask again.",
            )
        return cls(
            option=next(iter(event["chosen_options"]), ""),
            videos=tuple(map(str, videos)),
            notes={str(key): str(note).strip() for key, note in notes.items() if str(note or "").strip()},
            timed_out=bool(event.get("timedout")) or not event.get("responded_by_user"),
            question=question,
        )

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Answer:
        """The response that ``to_json`` wrote."""
        return cls(**{**stored, VIDEOS: tuple(stored[VIDEOS])})

    def to_json(self) -> dict[str, Any]:
        """The form in which it is stored until the task has succeeded."""
        return {**self.__dict__, VIDEOS: list(self.videos)}


def drafts_of(videos: Any) -> list[Draft]:
    """The finished videos of a manifest, a result, or a list of either; failed ones are left out.

    Args:
        videos: a manifest's path; the result of ``GenerateVideoBatchOperator`` or of ``GenerateVideoOperator``; or
            several of these, such as the output of a mapped task.

    Raises:
        InvalidRequestError: a value is none of these, or a manifest does not exist.
        StorageError: the storage does not respond.
    """
    found = list(_drafts(_from_template(videos), counted=count(1)))
    by_key = {draft.key: draft for draft in found}
    return list(by_key.values())


def manifests_of(videos: Any) -> list[str]:
    """The paths of the manifests among ``videos``."""
    videos = _from_template(videos)
    if isinstance(videos, str):
        return [videos]
    if isinstance(videos, dict):
        return [videos["manifest_path"]] if "manifest_path" in videos else []
    if videos is None:
        return []
    return [path for item in videos for path in manifests_of(item)]


def question_of(drafts: Iterable[Draft]) -> str:
    """Digest of the videos in a question; different videos make a different question."""
    return short_digest("\n".join(sorted(draft.key for draft in drafts)))


def labels_of(drafts: Sequence[Draft]) -> dict[str, str]:
    """The entries of the form's list: all videos together, and each one separately."""
    everything = {f"{_ALL}{question_of(drafts)}": f"All videos ({len(drafts)})"}
    return everything | {draft.key: draft.label for draft in drafts}


def text_of(drafts: Sequence[Draft], page: str) -> str:
    """The text of the question in Markdown.

    Args:
        drafts: the videos to be reviewed.
        page: URL of the page that plays them; empty if it is switched off.
    """
    lines = [f"- {_plain(draft.label)}" for draft in drafts[:_SHOWN]]
    more = [f"- and {len(drafts) - _SHOWN} more"] if len(drafts) > _SHOWN else []
    watch = [f"[Watch and select them on the Videos page]({page})\n"] if page else []
    note = f'In `{NOTES}`, write a note for a row by its number: `{{"3": "warmer light"}}`.'
    return "\n".join([*watch, *lines, *more, "", note])


def chosen(drafts: Sequence[Draft], answer: Answer) -> list[tuple[Draft, str]]:
    """The approved videos, each with its note.

    Only videos that the response names are approved. A response to an earlier question, about videos that have been
    generated again since, approves nothing.

    Raises:
        InvalidRequestError: the response names a video that is not among the drafts.
    """
    if answer.option != APPROVE:
        return []
    question = question_of(drafts)
    everything = f"{_ALL}{question}"
    if answer.timed_out:
        known, named = answer.question == question, {draft.key for draft in drafts}
    else:
        named = set(answer.videos)
        known = named <= {everything, *(draft.key for draft in drafts)}
    if not known:
        raise InvalidRequestError(
            "The answer names videos that are no longer among the drafts, so no final was made.",
            advice="Clear this task, and answer on the Videos page: before Airflow 3.4, the form of a cleared task "
            "still shows its first question.",
        )
    return [
        (draft, note_for(draft, answer))
        for draft in drafts
        if answer.timed_out or not named.isdisjoint({everything, draft.key})
    ]


def note_for(draft: Draft, answer: Answer) -> str:
    """The reviewer's note about this video."""
    return answer.notes.get(draft.key) or answer.notes.get(str(draft.row)) or ""


def final_parameters(draft: Draft, final: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the final: those of the draft with its seed, overridden by ``final``."""
    requested = dict(draft.result.get("parameters") or {"prompt": draft.result.get("prompt")})
    seed = {"seed": draft.result["seed"]} if draft.result.get("seed") is not None else {}
    return {**requested, **seed, **final}


def row_of(draft: Draft, note: str, final: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a final for ``GenerateVideoBatchOperator``: the draft's row plus the column ``review``."""
    parameters = final_parameters(draft, final)
    review = {
        "row": draft.row,
        "note": note or None,
        "prompt": parameters.get("prompt"),
        "seed": parameters.get("seed"),
        "parameters": parameters,
        "generation_id": draft.result.get("generation_id"),
        "path": draft.result.get("path"),
    }
    return {**draft.input, "review": review} if draft.input else {"row": draft.row, "review": review}


def keywords_of(draft: Draft, final: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a final for ``GenerateVideoOperator.partial(…).expand_kwargs``.

    Raises:
        InvalidRequestError: the draft was made from a data URI, which results do not contain.
    """
    parameters = final_parameters(draft, final)
    if LEFT_OUT in str(parameters):
        raise InvalidRequestError(
            f"Row {draft.row} was made from a data URI, which results do not contain, so its final cannot be made from "
            "the result. No final was made.",
            advice="Upload the file with CreateAssetOperator, or make the finals with GenerateVideoBatchOperator from "
            "the rows.",
        )
    return parameters


def _drafts(videos: Any, counted: Iterator[int]) -> Iterator[Draft]:
    if isinstance(videos, str) or (isinstance(videos, dict) and "manifest_path" in videos):
        for path in manifests_of(videos):
            yield from (_of_entry(entry) for entry in _entries(path) if entry.status in (SUCCEEDED, SKIPPED))
    elif isinstance(videos, dict) and ("generation_id" in videos or "path" in videos):
        row = next(counted)
        if videos.get("path") or videos.get("video_url"):
            yield Draft(row, {}, videos)
    elif not isinstance(videos, dict | bytes) and hasattr(videos, "__iter__"):
        for item in videos:
            if item is not None:  # None comes from a skipped mapped task instance
                yield from _drafts(item, counted)
    else:
        raise InvalidRequestError(
            f"videos={videos!r:.200} is no manifest, no result of a video, and no list of these. Nothing was asked."
        )


def _from_template(videos: Any) -> Any:
    """Decodes the text that a template renders from a task's output: it begins like a list or an object."""
    try:
        return decode(videos) if isinstance(videos, str) and videos.lstrip().startswith(("[", "{")) else videos
    except PydanticCustomError as error:
        raise InvalidRequestError(f"videos={videos!r:.200} cannot be read ({error}). Nothing was asked.") from error


def _entries(path: str) -> list[ManifestEntry]:
    text = stored_file(path, "videos").read_text()
    if text is None:
        raise InvalidRequestError(f"videos={path!r} does not exist. Nothing was asked.")
    return from_text(text)


def _of_entry(entry: ManifestEntry) -> Draft:
    return Draft(entry.row, entry.input, entry.result, entry.key_column)


def _shortened(text: str) -> str:
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"


def _plain(text: str) -> str:
    return text.translate(_WRITTEN_AS_TEXT)
