"""Chooses the next row of a batch, and decides whether any more rows are processed."""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_anyfast.batch.rows import BatchRow
    from airflow_provider_anyfast.client.errors import AnyFastError


class BatchState(IntEnum):
    """How much of a batch is still processed in this attempt."""

    OPEN = 0
    """Rows are submitted, and videos that are paid for are downloaded."""
    SATURATED = 1
    """AnyFast accepts no submissions for now."""
    CLOSED = 2
    """Nothing more is submitted. Videos that are paid for are still awaited and downloaded."""
    ABORTED = 3
    """No more rows are processed."""


class BatchLifecycle:
    """The state of a batch, which only moves forward. Only saturation is reset, at the start of the next segment.

    Args:
        closed_by: the error that stopped the submissions of this attempt before its last deferral, if any.
    """

    def __init__(self, closed_by: AnyFastError | None = None) -> None:
        self._reached: list[tuple[BatchState, AnyFastError | None]] = []
        if closed_by is not None:
            self.advance(BatchState.CLOSED, closed_by)

    @property
    def state(self) -> BatchState:
        """The furthest state reached."""
        return max((state for state, _ in self._reached), default=BatchState.OPEN)

    @property
    def error(self) -> AnyFastError | None:
        """The first error that led to the state; None if there was none."""
        current = self.state
        return next((error for state, error in self._reached if state is current and error), None)

    def advance(self, state: BatchState, error: AnyFastError | None = None) -> None:
        """Moves to ``state``, unless the current state is further.

        A signal handler may call this at any point of the main thread, so it takes no lock: an append is atomic.
        """
        self._reached.append((state, error))

    def abort(self) -> None:
        """Stops processing rows."""
        self.advance(BatchState.ABORTED)

    def forget_saturation(self) -> None:
        """Lets the next segment find out whether AnyFast accepts submissions again."""
        for reached in [reached for reached in self._reached if reached[0] is BatchState.SATURATED]:
            self._reached.remove(reached)


class RowQueue:
    """The rows of one segment: first those that have a record, then new ones as far as the limits allow.

    Postponed rows come when no other row is left or in flight. A row returns to the queue while it is still in flight,
    so ``postpone`` and ``put_back`` only append, which is atomic; its ``release`` notifies the waiting threads.

    Args:
        lifecycle: the state of the batch.
        recorded: rows with a record from an earlier segment or attempt.
        new: rows that are still to be submitted.
        active: videos that are rendering and whose rows are not in this queue.
        max_active: videos that may render at the same time; None sets no limit.
    """

    def __init__(
        self,
        lifecycle: BatchLifecycle,
        *,
        recorded: Iterable[BatchRow],
        new: Iterable[BatchRow],
        active: int = 0,
        max_active: int | None = None,
    ) -> None:
        self._lifecycle = lifecycle
        self._recorded = deque(recorded)
        self._new = deque(new)
        self._active = active
        self._max_active = max_active
        self._postponed: deque[BatchRow] = deque()
        self._in_flight: dict[str, BatchRow] = {}
        self._second_time: set[str] = set()
        """Keys of the rows in flight that were postponed before."""
        self._changed = Condition()

    def take(self) -> BatchRow | None:
        """The next row; None when the segment has nothing more to do. Blocks while a row in flight may free a place."""
        with self._changed:
            while self._lifecycle.state < BatchState.ABORTED:
                rows = self._recorded or (self._new if self._lifecycle.state is BatchState.OPEN else None)
                if rows and (rows is self._recorded or not self._is_full):
                    return self._taken(rows.popleft())
                # No row in flight can still be postponed, so one lookup serves all that are.
                if self._postponed and self._in_flight.keys() <= self._second_time:
                    self._second_time.add(self._postponed[0].key)
                    return self._taken(self._postponed.popleft())
                if not self._postponed and not (rows and self._in_flight):
                    return None
                self._changed.wait(timeout=1.0)  # a signal may change the state without a notification
        return None

    def postpone(self, row: BatchRow) -> None:
        """Postpones a taken row until no other is left."""
        self._postponed.append(row)

    def put_back(self, row: BatchRow) -> None:
        """Returns a row that needs a new submission to the queue of new rows."""
        self._new.append(row)

    def release(self, row: BatchRow, *, is_active: bool) -> None:
        """Marks a taken row as processed; ``is_active`` if its video is rendering now."""
        with self._changed:
            del self._in_flight[row.key]
            self._second_time.discard(row.key)
            self._active += is_active
            self._changed.notify_all()

    @property
    def in_flight(self) -> list[BatchRow]:
        """The rows that are taken and not yet released."""
        with self._changed:
            return list(self._in_flight.values())

    @property
    def postponed(self) -> list[BatchRow]:
        """The rows that are postponed until no other is left."""
        with self._changed:
            return list(self._postponed)

    def _taken(self, row: BatchRow) -> BatchRow:
        self._in_flight[row.key] = row
        return row

    @property
    def _is_full(self) -> bool:
        return self._max_active is not None and self._active + len(self._in_flight) >= self._max_active
