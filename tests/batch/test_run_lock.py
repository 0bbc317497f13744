"""Of several runs of a task, one at a time makes rows, in whatever order their calls to Airflow arrive."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, cast

import pytest

from airflow_provider_anyfast.batch.run_lock import Claim, HeldByAnotherRunError, OtherRun, RunLock
from airflow_provider_anyfast.client.errors import LedgerError
from airflow_provider_anyfast.ledger.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_provider_anyfast.ledger.pages import PagedLedger

pytestmark = pytest.mark.usefixtures("fake_clock")


@dataclass
class Run:
    """A task instance that tries to get the lock, one call to Airflow after the other."""

    run_id: str
    claim: Claim | None = None
    is_unfinished: bool = True
    """Whether the others see its task as unfinished. A cleared task becomes so when it starts."""
    is_visible: bool = True
    """Whether the others can read its claim: a batch that has succeeded keeps its index where only itself reads."""
    acquired: bool | None = None
    """None until it knows."""
    others: Sequence[Run] = ()
    _turn: Semaphore = field(default_factory=lambda: Semaphore(0))
    _done: Semaphore = field(default_factory=lambda: Semaphore(0))

    def metadata(self, _name: str) -> Claim | None:
        return self.claim

    def set_metadata(self, values: dict[str, str]) -> None:
        self.claim, self.is_visible = Claim(values["claim"]), True
        self._pause()

    def start(self) -> None:
        Thread(target=self._run, daemon=True).start()

    def step(self) -> None:
        """Goes on to its next call to Airflow, or to its end."""
        self._turn.release()
        assert self._done.acquire(timeout=30)

    def _run(self) -> None:
        self._turn.acquire()
        self.is_unfinished = True
        self._pause()
        lock = RunLock(self.run_id, self._others, is_stopped=self._pause)
        try:
            lock.acquire(cast("PagedLedger", self))
            self.acquired = True
        except HeldByAnotherRunError:
            self.acquired = False
        self._done.release()

    def _others(self) -> Iterator[OtherRun]:
        unfinished = [other for other in self.others if other.is_unfinished]
        self._pause()
        for other in unfinished:
            yield OtherRun(other.run_id, partial(self._index_of, other))

    def _index_of(self, other: Run, _name: str) -> MemoryStore:
        is_there = other.claim is not None and other.is_visible
        index = MemoryStore({"pages": 0, "claim": other.claim} if is_there else None)
        self._pause()
        return index

    def _pause(self) -> bool:
        self._done.release()
        self._turn.acquire()
        return False


def play(runs: Sequence[Run], order: Iterable[int]) -> Sequence[Run]:
    """Lets the runs take steps in this order, and then to their ends by turns."""
    for run in runs:
        run.others = [other for other in runs if other is not run]
        run.start()
    for chosen in order:
        if runs[chosen].acquired is None:
            runs[chosen].step()
    while undecided := [run for run in runs if run.acquired is None]:
        for run in undecided:
            run.step()
    return runs


def who_acquired(runs: Sequence[Run]) -> list[str]:
    return [run.run_id for run in runs if run.acquired]


def claims_of(runs: Sequence[Run]) -> list[Claim | None]:
    return [run.claim for run in runs]


EVERY_ORDER_OF_TWO = [[int(at in second) for at in range(10)] for second in combinations(range(10), 5)]
"""Each needs five steps, and more if it waits for the other's decision."""


@pytest.mark.parametrize("claim", [None, Claim.WANTED, Claim.WAITING])
def test_of_two_runs_that_start_together_exactly_one_makes_rows(claim: Claim | None) -> None:
    for order in EVERY_ORDER_OF_TWO:
        runs = play([Run("a", claim), Run("b", claim)], order)
        assert len(who_acquired(runs)) == 1, order
        assert sorted(map(str, claims_of(runs))) == sorted(map(str, [Claim.HELD, Claim.WAITING]))


def test_of_three_runs_at_most_one_makes_rows() -> None:
    for seed in range(300):
        order = random.Random(seed).choices((0, 1, 2), k=18)
        runs = play([Run("a"), Run("b"), Run("c")], order)
        assert len(who_acquired(runs)) == 1, seed


def test_a_retry_of_the_run_that_makes_rows_keeps_them_however_its_id_sorts() -> None:
    for order in EVERY_ORDER_OF_TWO:
        assert who_acquired(play([Run("a"), Run("b", Claim.HELD)], order)) == ["b"], order


def test_a_run_that_was_cleared_after_its_failure_does_not_make_rows_beside_its_successor() -> None:
    """The others do not see it before it starts, although its claim is still stored."""
    for order in EVERY_ORDER_OF_TWO:
        cleared = Run("a", Claim.HELD, is_unfinished=False)
        assert len(who_acquired(play([cleared, Run("b")], order))) == 1, order


def test_a_run_that_was_cleared_after_its_success_does_not_make_rows_beside_another_one() -> None:
    for order in EVERY_ORDER_OF_TWO:
        cleared = Run("a", Claim.HELD, is_unfinished=False, is_visible=False)
        assert len(who_acquired(play([cleared, Run("b")], order))) == 1, order


def test_two_runs_that_were_cleared_after_their_failures_never_make_rows_together() -> None:
    for order in EVERY_ORDER_OF_TWO:
        runs = play([Run(name, Claim.HELD, is_unfinished=False) for name in "ab"], order)
        assert len(who_acquired(runs)) <= 1, order
        if not who_acquired(runs):
            assert len(who_acquired(play([Run(run.run_id, run.claim) for run in runs], ()))) == 1


def test_a_run_that_is_over_or_has_not_begun_holds_nobody_up() -> None:
    for other in (Run("a", Claim.HELD, is_unfinished=False, acquired=True), Run("a", None, acquired=False)):
        assert play([other, Run("b")], ())[1].acquired


def test_a_run_whose_decision_does_not_come_is_waited_for() -> None:
    killed = Run("b", Claim.WANTED, acquired=False)
    runs = play([Run("a"), killed], ())
    assert runs[0].acquired is False
    assert runs[0].claim is Claim.WAITING


def test_a_run_without_a_claim_in_its_ledger_makes_rows() -> None:
    assert OtherRun("a", lambda _: MemoryStore({"pages": 1})).claim is Claim.HELD


def test_an_unknown_state_of_the_others_stops_the_submission() -> None:
    def others() -> Iterable[OtherRun]:
        raise RuntimeError("Airflow does not respond")

    ledger = Run("a")
    lock = RunLock("a", others, is_stopped=lambda: False)
    ledger._turn.release()
    with pytest.raises(LedgerError, match="Airflow does not respond"):
        lock.acquire(cast("PagedLedger", ledger))
