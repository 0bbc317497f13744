"""What an attempt of a batch has to know after each of its deferrals, in a form that is cheap to read.

The ledger stays the truth. A checkpoint only spares a later segment of the same attempt to read all of it, to render
every row again, and to ask about videos that have not ended.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.manifest import Tally
from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.errors import AnyFastError, Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_anyfast.batch.rows import BatchRow

_OLD_NAMES = {"vain_since": "saturated_since"}
"""As version 0.1.0 called them."""


@dataclass(frozen=True)
class BatchCheckpoint:
    """What an attempt has to know over its deferrals. Rows go by their numbers.

    Attributes:
        began_at: Unix seconds.
        resumed: False before its first wait.
        saturated_since: Unix seconds since when AnyFast accepts no submission, although nothing is rendering.
        active: videos that are rendering: the row, the generation's id, and its submission in Unix seconds.
        unanswered: rows that are paid for, and about which AnyFast could not be asked.
        doubted: rows whose generation AnyFast did not know when it was last asked.
        located: rows that have not ended and have a record: the row, and its page of the ledger.
        manifest: digest of the manifest as it was written.
        tally: what was in it; None where a version wrote this that has no such fields.
        closed_by: the error that ended the submissions of this attempt.
    """

    began_at: float
    resumed: bool = False
    saturated_since: float | None = None
    active: Sequence[tuple[int, str, float]] = ()
    unanswered: Sequence[int] = ()
    doubted: Sequence[int] = ()
    located: Sequence[tuple[int, int]] = ()
    manifest: str = ""
    tally: Tally | None = None
    closed_by: AnyFastError | None = None

    @classmethod
    def from_xcom(cls, stored: Mapping[str, Any]) -> BatchCheckpoint:
        """What an earlier segment has pushed, maybe one of version 0.1.0."""
        known = {own.name for own in fields(cls)}
        renamed = {_OLD_NAMES.get(name, name): value for name, value in stored.items()}
        values = {name: _list_of(value) for name, value in renamed.items() if name in known}
        if tally := values.get("tally"):
            values["tally"] = Tally(**{**tally, "examples": [(row, error) for row, error in tally["examples"]]})
        if closed_by := values.get("closed_by"):
            values["closed_by"] = _error_of(closed_by)
        return cls(**values)

    def to_xcom(self) -> dict[str, Any]:
        """Plain JSON, and what grows with the rows as text: Airflow walks through every list that it stores."""
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        texts = {name: json.dumps(found[name]) for name in ("active", "unanswered", "doubted", "located")}
        tally = None if self.tally is None else asdict(self.tally)
        return {**found, **texts, "tally": tally, "closed_by": self.closed_by and _facts_of(self.closed_by)}


def active_in(stored: Any) -> Sequence[tuple[int, str, float]]:
    """The ``active`` of what a version of this provider has pushed; nothing where it is no checkpoint."""
    return (_list_of(stored.get("active")) or ()) if isinstance(stored, dict) else ()


def _list_of(stored: Any) -> Any:
    """A list that stands as text, and anything else as it is. No digest begins with a bracket."""
    return json.loads(stored) if isinstance(stored, str) and stored.startswith("[") else stored


def _facts_of(error: AnyFastError) -> dict[str, Any]:
    facts = {name: value for name, value in vars(error).items() if name in _FACTS_OF_ERRORS}
    return {"type": type(error).__name__, **facts, "cost": error.cost.value}


def _error_of(facts: Mapping[str, Any]) -> AnyFastError:
    kind: type[AnyFastError] = getattr(errors, facts["type"], AnyFastError)
    given = {name: facts[name] for name in _FACTS_OF_ERRORS if name in facts}
    return kind(**given, cost=Cost(facts["cost"]))


_FACTS_OF_ERRORS = ("what", "advice", "status", "code", "request_id", "generation_id")


@dataclass(frozen=True)
class RowIndex:
    """What a later segment has to know of all rows, written once an attempt.

    Attributes:
        digest: of the rows, the template and the connection, which proves that nothing has changed.
        kind: what the videos have in common that says how long they take; empty if they differ.
        keys: of the ledger, by the numbers of the rows.
        left_out: rows beyond the limit of the batch.
        assets: what became of files that rows name as references: the id of the asset, or why there is none.
    """

    digest: str
    kind: str
    keys: dict[int, str]
    left_out: int = 0
    assets: dict[str, str | AnyFastError] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[BatchRow], digest: str, *, left_out: int = 0) -> RowIndex:
        """The index of rows that are rendered."""
        kinds = {row.request.kind for row in rows}
        kind = kinds.pop() if len(kinds) == 1 else ""
        return cls(digest, kind, {row.number: row.key for row in rows}, left_out)

    @classmethod
    def from_xcom(cls, stored: Mapping[str, str]) -> RowIndex:
        """What an earlier segment has pushed."""
        parts = (part.partition(":") for part in stored["keys"].split())
        keys = {int(number): key for number, _, key in parts}
        found = json.loads(stored.get("assets", "{}"))
        assets = {file: asset if isinstance(asset, str) else _error_of(asset) for file, asset in found.items()}
        return cls(stored["digest"], stored["kind"], keys, int(stored.get("left_out", 0)), assets)

    def to_xcom(self) -> dict[str, str]:
        """Texts alone: Airflow walks through every list that it stores, item by item."""
        keys = " ".join(f"{number}:{key}" for number, key in self.keys.items())
        assets = {file: found if isinstance(found, str) else _facts_of(found) for file, found in self.assets.items()}
        return {
            "digest": self.digest,
            "kind": self.kind,
            "keys": keys,
            "left_out": str(self.left_out),
            "assets": json.dumps(assets),
        }
