"""The report of a batch for people: a table, and a page that plays the videos.

Both are made from the entries of a manifest, or from the results of mapped tasks.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader

from airflow_provider_anyfast.batch.manifest import FAILED, LOST, SKIPPED, SUCCEEDED
from airflow_provider_anyfast.batch.table import named_by
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from airflow_provider_anyfast.batch.manifest import ManifestEntry

_FACTS = (
    *("generation_id", "model", "resolution", "ratio", "duration", "prompt"),
    *("width", "height", "seconds", "frame_rate", "has_sound"),
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")
"""A spreadsheet treats a cell that begins with one of these as a formula (OWASP, CSV injection)."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_SHEET = Path(__file__).parent / "sheet"
_KINDS = {
    SUCCEEDED: ("ready", "Ready"),
    SKIPPED: ("kept", "Already there"),
    FAILED: ("failed", "Failed"),
    LOST: ("unknown", "May have been billed"),
}
"""The kind of each status, which sets the page's colors and filters, and its label."""
_OPEN = ("open", "Not ended")


@dataclass(frozen=True)
class Card:
    """One row of the page.

    Attributes:
        kind, words: of the row's status.
        video, poster, log: link targets; empty where there is none.
        facts: names and values to display.
    """

    row: int
    key: str
    kind: str
    words: str
    prompt: str
    error: str
    video: str
    poster: str
    log: str
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str] = field(default=())


def report_csv(entries: Sequence[ManifestEntry]) -> str:
    """One line per row: its own columns as ``input_…``, its status, its cost and the path of its file."""
    columns = dict.fromkeys(f"input_{name}" for entry in entries for name in entry.input)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["row", "status", *columns, *_FACTS, "tokens", "cost", "file", "error", "warnings"], lineterminator="\n"
    )
    writer.writeheader()
    for entry in entries:
        cells = {
            "row": entry.row,
            "status": entry.status,
            **{f"input_{name}": value for name, value in entry.input.items()},
            **{name: entry.result.get(name) for name in _FACTS},
            "tokens": entry.tokens,
            "cost": entry.result.get("cost"),
            "file": entry.result.get("path") or entry.result.get("video_url"),
            "error": entry.error,
            "warnings": " ".join(_warnings_of(entry)),
        }
        writer.writerow({name: _cell(value) for name, value in cells.items()})
    return text.getvalue()


def contact_sheet(
    entries: Sequence[ManifestEntry],
    *,
    title: str,
    folder: str,
    subtitle: str = "",
    table: str = "",
    total: int | None = None,
    log_of: Callable[[ManifestEntry], str] | None = None,
) -> str:
    """An HTML page that plays the videos. It loads nothing from other sites, and can be moved together with the videos.

    Args:
        entries: the rows, in the order of the page.
        title: its heading.
        folder: the folder of the page; links to videos in the same bucket or file system are relative to it.
        subtitle: a line below the heading.
        table: the name of the table beside the page.
        total: number of rows, including those that have not ended.
        log_of: returns the URL of the log of a row's task.
    """
    cards = [_card(entry, folder, log_of(entry) if log_of else "") for entry in entries]
    counts = Counter((card.kind, card.words) for card in cards)
    ready, total = counts[_KINDS[SUCCEEDED]] + counts[_KINDS[SKIPPED]], max(total or 0, len(entries))
    others = [f"{count:,} {words.lower()}" for (kind, words), count in counts.items() if kind != "ready"]
    missing = [f"{total - len(entries):,} not ended"] if total > len(entries) else []
    odd = sum(bool(card.warnings) for card in cards)
    unlike = [f"{odd:,} not as asked for"] if odd else []
    page: str = _template().render(
        title=title,
        subtitle=subtitle,
        table=quote(table),
        summary=" · ".join(
            [f"{ready:,} of {counted(total, 'video')} ready", *others, *missing, *unlike, *_bill(entries)]
        ),
        kinds=[(kind, words, count) for (kind, words), count in counts.items()],
        cards=cards,
    )
    return page


def sheet_policy() -> str:
    """The Content-Security-Policy of the page: only its own style and script, and no requests except for media."""
    style, script = (_hash_of(name) for name in ("report.css", "report.js"))
    media = "'self' file: https: http:"
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; img-src {media}; media-src {media}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _template() -> Any:
    environment = Environment(loader=FileSystemLoader(_SHEET), autoescape=True)
    own = {"style": _text_of("report.css"), "script": _text_of("report.js"), "policy": sheet_policy()}
    return environment.get_template("report.html", globals=own)


@cache
def _text_of(name: str) -> str:
    return (_SHEET / name).read_text(encoding="utf-8")


def _hash_of(name: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(_text_of(name).encode()).digest()).decode()}'"


def _card(entry: ManifestEntry, folder: str, log: str) -> Card:
    kind, words = _KINDS.get(entry.status, _OPEN)
    result = entry.result
    link = str(result.get("video_url") or "")
    return Card(
        row=entry.row,
        key=_key_of(entry),
        kind=kind,
        words=words,
        prompt=str(result.get("prompt") or ""),
        error=entry.error or "",
        video=_relative(result.get("path"), folder) or (link if link.startswith(("http://", "https://")) else ""),
        poster=_relative(result.get("poster_path") or result.get("last_frame_path"), folder),
        log=log,
        facts=list(_facts(entry)),
        warnings=_warnings_of(entry),
    )


def _warnings_of(entry: ManifestEntry) -> list[str]:
    """How the video differs from the request."""
    return [str(warning) for warning in entry.result.get("warnings") or ()]


def _key_of(entry: ManifestEntry) -> str:
    """The name of a row: the value of its key column, or else its file or its number."""
    _, name = named_by(entry.input, entry.key_column)
    return name or PurePosixPath(str(entry.result.get("path") or "")).stem or f"Row {entry.row}"


def _facts(entry: ManifestEntry) -> Iterator[tuple[str, str]]:
    result = entry.result
    asked = result.get("parameters")
    found = {
        "Requested": _described(asked) if isinstance(asked, dict) else "",
        "Actual": _described(result),
        "Model": result.get("model"),
        "Seed": result.get("seed"),
        "Billed": ", ".join(_bill([entry])),
        "Generation": result.get("generation_id"),
        "File": result.get("path"),
    }
    yield from ((name, str(value)) for name, value in found.items() if value not in (None, ""))


def _described(facts: Mapping[str, Any]) -> str:
    """Ratio, resolution, dimensions, seconds and sound, as far as known; measured values take precedence."""
    sound = facts.get("has_sound", facts.get("generate_audio"))
    seconds = facts.get("seconds") or facts.get("duration")
    parts = [
        *(facts.get(name) for name in ("ratio", "resolution")),
        f"{facts['width']} x {facts['height']} pixels" if facts.get("width") else "",
        f"{seconds:g} s" if isinstance(seconds, float) else f"{seconds} s" if seconds else "",
        "" if sound is None else "sound" if sound else "no sound",
    ]
    return ", ".join(str(part) for part in parts if part)


def _bill(entries: Iterable[ManifestEntry]) -> Iterator[str]:
    """Tokens, and the price if known."""
    entries = list(entries)
    if tokens := sum(entry.tokens for entry in entries):
        yield f"{tokens:,} tokens"
    if costs := [Decimal(str(entry.result["cost"])) for entry in entries if entry.result.get("cost") is not None]:
        yield f"cost {sum(costs)}"


def _relative(path: Any, folder: str) -> str:
    """The link from a page in ``folder`` to a file in the same bucket or file system; empty if there is none."""
    (bucket, key), (page_bucket, page_folder) = _place(str(path or "")), _place(folder)
    if not key or bucket != page_bucket or key.startswith("/") != page_folder.startswith("/"):
        return ""
    return quote(posixpath.relpath(key, page_folder or "."))


def _place(path: str) -> tuple[str, str]:
    """The bucket with its scheme but without the connection, and the key; for a local file, its path."""
    scheme, separator, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    return (f"{scheme}://{bucket.rpartition('@')[2]}", f"/{key}") if separator else ("", path)


def _cell(value: Any) -> Any:
    """Prefixes text that a spreadsheet would run as a formula with an apostrophe."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        value = value.replace("\r\n", "\n").replace("\r", "\n")  # some readers end a line there
    runs = isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value)
    return f"'{value}" if runs else value
