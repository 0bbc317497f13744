"""What became of the rows of a batch, for people: a table, and a page that plays the videos.

Both are made of the lines of a manifest, so ``from_text`` of ``GenerateVideoBatchOperator``'s file serves as well as
lines that a DAG puts together from the results of mapped tasks.
"""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal
from html import escape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_anyfast.batch.manifest import SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_anyfast.batch.manifest import ManifestEntry

_FACTS = ("generation_id", "model", "resolution", "ratio", "duration", "prompt")
_POSTER = "#t=0.1"
"""Makes a browser show a frame before the video is played."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")
"""With these a spreadsheet takes a cell for a formula (OWASP, CSV injection)."""
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2330 }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)) }
li { border: 1px solid #ddd; border-radius: .5rem; padding: .8rem; overflow-wrap: anywhere }
h1 { overflow-wrap: anywhere } h2 { font-size: 1rem; margin: .5rem 0 0 } p { margin: .3rem 0; white-space: pre-line }
video { width: 100%; max-height: 18rem; background: #181c2c; border-radius: .3rem }
.quiet { color: #667; font-size: .87rem } .good { color: #176b2c } .bad { color: #a11 }
"""


def report_csv(lines: Sequence[ManifestEntry]) -> str:
    """One line for each row: its own columns as ``input_…``, its status, what it cost and where its file is."""
    columns = dict.fromkeys(f"input_{name}" for line in lines for name in line.input)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["row", "status", *columns, *_FACTS, "tokens", "cost", "file", "error"], lineterminator="\n"
    )
    writer.writeheader()
    for line in lines:
        cells = {
            "row": line.row,
            "status": line.status,
            **{f"input_{name}": value for name, value in line.input.items()},
            **{name: line.result.get(name) for name in _FACTS},
            "tokens": line.tokens,
            "cost": line.result.get("cost"),
            "file": line.result.get("path") or line.result.get("video_url"),
            "error": line.error,
        }
        writer.writerow({name: _cell(value) for name, value in cells.items()})
    return text.getvalue()


def contact_sheet(lines: Sequence[ManifestEntry], *, title: str, folder: str) -> str:
    """An HTML page that plays the videos. It needs nothing from elsewhere, and moves together with them.

    Args:
        lines: of the rows, in the order of the page.
        title: its heading.
        folder: where the page will be; videos in it, or below, are linked to by relative paths.
    """
    made = sum(line.status == SUCCEEDED for line in lines)
    items = "".join(_item(line, folder) for line in lines)
    summary = " · ".join([f"{made} of {len(lines)} videos", *_bill(lines)])
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(summary)}</p>
<ol>
{items}</ol>
</body>
</html>
"""


def _item(line: ManifestEntry, folder: str) -> str:
    link = _link(line, folder)
    video = f'<video controls preload="metadata" src="{escape(link)}{_POSTER}"></video>\n' if link else ""
    kind = "good" if line.status == SUCCEEDED else "bad"
    name = PurePosixPath(str(line.result.get("path") or "")).name or line.result.get("generation_id")
    facts = [name, *(line.result.get(fact) for fact in ("resolution", "ratio")), *_bill([line])]
    parts = [
        f'<h2>{line.row} <span class="{kind}">{escape(line.status)}</span></h2>\n',
        *_paragraph(line.result.get("prompt"), ""),
        *_paragraph(line.error, "bad"),
        *_paragraph(" · ".join(str(fact) for fact in facts if fact), "quiet"),
    ]
    return f"<li>\n{video}{''.join(parts)}</li>\n"


def _paragraph(text: Any, kind: str) -> Iterator[str]:
    if text:
        yield f'<p class="{kind}">{escape(str(text))}</p>\n'


def _bill(lines: Iterable[ManifestEntry]) -> Iterator[str]:
    """Tokens, and money where a price is known."""
    lines = list(lines)
    if tokens := sum(line.tokens for line in lines):
        yield f"{tokens:,} tokens"
    if costs := [Decimal(str(line.result["cost"])) for line in lines if line.result.get("cost") is not None]:
        yield f"cost {sum(costs)}"


def _link(line: ManifestEntry, folder: str) -> str | None:
    """What a browser can play: a file below the page, or else AnyFast's link while that lives."""
    if path := line.result.get("path"):
        try:
            return quote(str(PurePosixPath(path).relative_to(PurePosixPath(folder))))
        except ValueError:
            pass
    url = str(line.result.get("video_url") or "")
    return url if url.startswith(("http://", "https://")) else None


def _cell(value: Any) -> Any:
    """What a spreadsheet shows as it is: a text that it would run as a formula gets an apostrophe before it."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        value = value.replace("\r\n", "\n").replace("\r", "\n")  # a lone one would end the line for some readers
    runs = isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value)
    return f"'{value}" if runs else value
