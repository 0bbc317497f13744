"""The billing log of one key: a row for every charge and refund."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.api.identifiers import Identifiers, new_request_id

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.settings import SandboxSettings

CONSUME = 2
REFUND = 6
_PRE_CHARGE = 1.1
_FOREIGN_SECONDS = 2.0


@dataclass(frozen=True)
class LogRow:
    """One row; ``created_at`` is Unix seconds, ``quota`` counts tokens, ``task_id`` is ``None`` where none is named."""

    created_at: float
    type: int
    content: str
    model: str
    quota: int
    request_id: str
    task_id: str | None = None
    use_time: int = 0

    def as_json(self, token_name: str) -> dict[str, Any]:
        """Return the row as the gateway sends it."""
        return {
            "created_at": int(self.created_at),
            "type": self.type,
            "content": self.content,
            "token_name": token_name,
            "model_name": self.model,
            "quota": self.quota,
            "use_time": self.use_time,
            "request_id": self.request_id,
            "other": json.dumps({} if self.task_id is None else {"task_id": self.task_id}),
        }


@dataclass
class BillingLog:
    """The charges of one key, in the order in which they were made.

    Refunds and settlements follow from the generations: they are made when one ends.
    """

    _charges: list[LogRow] = field(default_factory=list)

    def charge_request(self, model: str, request_id: str, now: float) -> None:
        """Add the charge of a request with a fixed price: a group or an asset."""
        self._charges.append(LogRow(now, CONSUME, f"模型 {model}", model, 1, request_id))

    def charge_generation(self, generation: Generation, settings: SandboxSettings) -> None:
        """Add the charge of an accepted submission, and those of other programs that share the key, if any."""
        row = LogRow(
            created_at=generation.submitted_at,
            type=CONSUME,
            content=f"操作 {generation.spec.action}",
            model=generation.spec.model,
            quota=pre_charge_of(generation),
            request_id=generation.request_id,
            task_id=generation.id if settings.billing_log_ids else None,
            use_time=1,
        )
        self._charges.append(row)
        self._charges += [_foreign(row) for _ in range(settings.billing_log_foreign)]

    def rows(self, generations: list[Generation], now: float, delay: float) -> list[LogRow]:
        """Return the rows that exist at time ``now``, the newest first; each appears ``delay`` seconds late."""
        every = [*self._charges, *(row for generation in generations for row in _after_the_end(generation, now))]
        return sorted((row for row in every if row.created_at + delay <= now), key=lambda row: -row.created_at)


def pre_charge_of(generation: Generation) -> int:
    """Return the charge of a submission before its tokens are known."""
    return int(generation.spec.tokens * _PRE_CHARGE)


def _after_the_end(generation: Generation, now: float) -> list[LogRow]:
    """Return the row that refunds what a finished generation did not cost: all of it, or the difference."""
    progress = generation.progress(now)
    if progress.finished_at is None:
        return []
    failed = progress.status == "FAILURE"
    pre_charge = pre_charge_of(generation)
    row = LogRow(
        created_at=progress.finished_at,
        type=REFUND,
        content="异步任务执行失败" if failed else "异步任务结算",
        model=generation.spec.model,
        quota=pre_charge if failed else pre_charge - generation.spec.tokens,
        request_id="",
        task_id=generation.id,
    )
    return [row]


def _foreign(row: LogRow) -> LogRow:
    """Return the row of another program's submission with the same model, at about the same time."""
    at = row.created_at - random.uniform(0, _FOREIGN_SECONDS)
    task_id = None if row.task_id is None else Identifiers().task()
    return replace(row, created_at=at, request_id=new_request_id(at), task_id=task_id)
