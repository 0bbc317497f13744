"""The state that an attempt of a batch keeps across its deferrals, in a form that is cheap to read.

The ledger stays authoritative. A checkpoint saves a later segment of the same attempt from reading the whole ledger,
rendering every row again, and polling videos that have not ended.
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
"""Field names of version 0.1.0, and their current names."""


@dataclass(frozen=True)
class BatchCheckpoint:
    """The state of an attempt between two segments. Rows are identified by their numbers.

    Attributes:
        began_at: Unix seconds.
        resumed: False before its first wait.
        saturated_since: Unix seconds since when AnyFast has accepted no submission although nothing is rendering.
        active: videos that are rendering: the row, the generation's id, and the time of its submission in Unix seconds.
        unanswered: rows that are paid for and whose generation could not be queried.
        doubted: rows whose generation AnyFast did not find, or returned without its link, at the last query.
        located: unfinished rows that have a record: the row, and its page of the ledger.
        manifest: digest of the manifest as last written.
        tally: the manifest in numbers; None in a checkpoint of a version without this field.
        closed_by: the error that stopped the submissions of this attempt.
        slot_needed_since: Unix seconds since when the run that this one waits for has waited for a slot; None if it has
            one.
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
    slot_needed_since: float | None = None

    @classmethod
    def from_xcom(cls, stored: Mapping[str, Any]) -> BatchCheckpoint:
        """The checkpoint that an earlier segment pushed, possibly one of version 0.1.0."""
        known = {own.name for own in fields(cls)}
        renamed = {_OLD_NAMES.get(name, name): value for name, value in stored.items()}
        values = {name: _list_of(value) for name, value in renamed.items() if name in known}
        if tally := values.get("tally"):
            values["tally"] = Tally(**{**tally, "examples": [(row, error) for row, error in tally["examples"]]})
        if closed_by := values.get("closed_by"):
            values["closed_by"] = _error_of(closed_by)
        return cls(**values)

    def to_xcom(self) -> dict[str, Any]:
        """Plain JSON. Lists that grow with the rows become text, since Airflow traverses every list that it stores."""
        found = {own.name: getattr(self, own.name) for own in fields(self)}
        texts = {name: json.dumps(found[name]) for name in ("active", "unanswered", "doubted", "located")}
        tally = None if self.tally is None else asdict(self.tally)
        return {**found, **texts, "tally": tally, "closed_by": self.closed_by and _facts_of(self.closed_by)}


def active_in(stored: Any) -> Sequence[tuple[int, str, float]]:
    """The ``active`` videos of a stored checkpoint of any version; empty if ``stored`` is not a checkpoint."""
    return (_list_of(stored.get("active")) or ()) if isinstance(stored, dict) else ()


def _list_of(stored: Any) -> Any:
    """Decodes a list that was stored as text, and returns anything else unchanged. No digest begins with a bracket."""
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
    """What a later segment needs to know about all rows; written once per attempt.

    Attributes:
        digest: of the rows, the template and the connection; shows whether anything has changed.
        kind: the kind of the videos, which determines how long they take; empty if they differ.
        keys: keys in the ledger, by row number.
        left_out: rows beyond the limit of the batch.
        assets: for each file that rows name as a reference: the id of its asset, or the error that prevented one.
    """

    digest: str
    kind: str
    keys: dict[int, str]
    left_out: int = 0
    assets: dict[str, str | AnyFastError] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[BatchRow], digest: str, *, left_out: int = 0) -> RowIndex:
        """The index of rendered rows."""
        kinds = {row.request.kind for row in rows}
        kind = kinds.pop() if len(kinds) == 1 else ""
        return cls(digest, kind, {row.number: row.key for row in rows}, left_out)

    @classmethod
    def from_xcom(cls, stored: Mapping[str, str]) -> RowIndex:
        """The index that an earlier segment pushed."""
        parts = (part.partition(":") for part in stored["keys"].split())
        keys = {int(number): key for number, _, key in parts}
        found = json.loads(stored.get("assets", "{}"))
        assets = {file: asset if isinstance(asset, str) else _error_of(asset) for file, asset in found.items()}
        return cls(stored["digest"], stored["kind"], keys, int(stored.get("left_out", 0)), assets)

    def to_xcom(self) -> dict[str, str]:
        """Only text: Airflow traverses every list that it stores, item by item."""
        keys = " ".join(f"{number}:{key}" for number, key in self.keys.items())
        assets = {file: found if isinstance(found, str) else _facts_of(found) for file, found in self.assets.items()}
        return {
            "digest": self.digest,
            "kind": self.kind,
            "keys": keys,
            "left_out": str(self.left_out),
            "assets": json.dumps(assets),
        }
