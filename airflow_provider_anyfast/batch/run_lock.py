"""Lets one run of a batch task at a time find the rows without a video and make them.

Two runs at the same time would both find no file for a row, and pay for its video twice. Airflow's Variables cannot be
compared and set in one step, so no two runs write the same one: each announces its claim in the index of its own
ledger, and only then reads the claims of the others. Of two runs that start at the same moment, at least one sees the
other's claim, and the one whose run id sorts first goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import AnyFastError, LedgerError
from airflow_provider_anyfast.ledger.pages import PagedLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_anyfast.ledger.record import Store

_CLAIM = "claim"
"""The name of the claim in a ledger's index."""
UNDECIDED_SECONDS = 30.0
"""How long another run may take to decide. It takes a second, unless its worker was killed."""


class Claim(str, Enum):
    """What a run announces about the rows of the table."""

    WANTED = "wanted"
    """It is about to read the claims of the others."""
    HELD = "held"
    """It makes rows, until its task ends."""
    WAITING = "waiting"
    """It waits for another run."""


@dataclass(frozen=True)
class OtherRun:
    """An unfinished task instance of the same task in another run.

    Args:
        run_id: of the other run.
        store_of: returns the stores of its ledger.
        state: of the task instance; None if Airflow has not scheduled it yet.
    """

    run_id: str
    store_of: Callable[[str], Store]
    state: str | None = None

    @property
    def claim(self) -> Claim | None:
        """What it announces; None before it has read its table."""
        stored = PagedLedger.stored_metadata(self.store_of)
        # A task that announces nothing makes rows with other parameters, or began with an older version of this code.
        return None if stored is None else Claim(stored.get(_CLAIM, Claim.HELD))


class HeldByAnotherRunError(Exception):
    """Another run makes rows, so this one has to wait. Nothing was submitted."""

    def __init__(self, run: OtherRun) -> None:
        super().__init__(run.run_id)
        self.run = run


@dataclass(frozen=True)
class RunLock:
    """The lock of one task instance.

    Args:
        run_id: of this run.
        others: returns the unfinished task instances of the same task in other runs.
        is_stopped: whether Airflow stops this task.
    """

    run_id: str
    others: Callable[[], Iterable[OtherRun]]
    is_stopped: Callable[[], bool]

    def acquire(self, ledger: PagedLedger) -> None:
        """Returns when no other run makes rows, and none begins to before this task has ended.

        Args:
            ledger: of this task instance.

        Raises:
            HeldByAnotherRunError: another run makes rows, or has not decided whether it does.
            LedgerError: Airflow could not store this run's claim, or not say what other runs do.
        """
        try:
            self._acquire(ledger)
        except (AnyFastError, HeldByAnotherRunError):
            raise
        except Exception as error:
            raise LedgerError(
                f"Whether another run makes the same rows could not be found out ({error}), so this attempt submits "
                "nothing."
            ) from error

    def _acquire(self, ledger: PagedLedger) -> None:
        # An earlier attempt may hold it, and may have paid for rows: then it is not given up. If the task had failed
        # for good before it was cleared, another run may hold it by now.
        holds = ledger.metadata(_CLAIM) == Claim.HELD
        # Stored in either case: after a success, the others could not read the claim.
        ledger.set_metadata({_CLAIM: (Claim.HELD if holds else Claim.WANTED).value})
        for other in self.others():
            claim = self._decided_claim(other, may_go_first=holds or self.run_id < other.run_id)
            if claim in (Claim.HELD, Claim.WANTED):
                if not holds or claim is Claim.HELD:
                    ledger.set_metadata({_CLAIM: Claim.WAITING.value})
                raise HeldByAnotherRunError(other)
        if not holds:
            ledger.set_metadata({_CLAIM: Claim.HELD.value})

    def _decided_claim(self, other: OtherRun, *, may_go_first: bool) -> Claim | None:
        """The claim of ``other``, after its decision if that can let this run go first."""
        until = clock.now() + UNDECIDED_SECONDS
        while (claim := other.claim) is Claim.WANTED and may_go_first and clock.now() < until:
            if self.is_stopped():
                break
            clock.sleep(1.0)
        return claim
