"""No sequence of events makes a task pay for more than its user wants, or lose what it has paid for.

Hypothesis generates the sequences: attempts that are killed at any step; a store that fails, that stores what it
refuses, or that finds nothing; submissions whose responses are lost, and queries with wrong responses; generations that
end in any way or are forgotten; retries whose request renders differently; clears (also those that discard the task
state, as in Airflow 3.4); changed requests and numbers of retries; and records that version 0.1.0 left in the task
state. Lost submissions are looked up in every kind of billing log, with rows of other programs in them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.billing import CONSUME, LogRow
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.job_failures import generation_failure
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.matching import (
    Found,
    LogSnapshot,
    LostSubmission,
    RequestTraits,
    Unknown,
    Verdict,
    judge,
)
from airflow_provider_anyfast.ledger.purchase import get_or_submit
from airflow_provider_anyfast.ledger.stores import TaskStore
from tests.ledger.memory_store import OutageError, Shelf
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.transport import Guard
    from airflow_provider_anyfast.ledger.stores import TaskStateStore, VariableStore
    from airflow_provider_anyfast.values import OnLostSubmission


REQUEST = {"model": "seedance", "content": [{"type": "text", "text": "A boat"}], "duration": 4}


class KilledError(BaseException):
    """The worker was killed."""


class End(str, Enum):
    """How a generation ends at AnyFast."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    MODERATED = "MODERATED"


Log = Literal["none", "with ids", "without ids", "late"]
Send = Literal["accepted", "accepted, answer lost", "not accepted, answer lost", "refused"]


@dataclass
class Plan:
    """The failures of one attempt. Steps are counted over the store and AnyFast, each before and after its effect."""

    killed_at: int | None = None
    outages: dict[str, int] = field(default_factory=dict)
    sends: list[Send] = field(default_factory=list)
    query_fails: AnyFastError | None = None
    status_goes_back: bool = False
    finds_nothing: bool = False
    log: Log = "none"
    foreign_rows: int = 0
    ends: End | None = None
    deferred: bool = False
    killed_after_all: bool = False

    @property
    def goes_well(self) -> bool:
        trouble = (self.outages, self.query_fails, self.killed_after_all, self.status_goes_back, self.finds_nothing)
        return self.killed_at is None and not any(trouble)

    @property
    def may_leave_an_intent(self) -> bool:
        """Whether an intent can remain although no request was sent, since no process was left to clear it."""
        return self.killed_at is not None or any(times > 1 for times in self.outages.values())


SENDS: tuple[Send, ...] = ("accepted", "accepted, answer lost", "not accepted, answer lost", "refused")
QUERY_FAILS = (
    errors.NoAnswerError("slow"),
    errors.AuthenticationError("key"),
    errors.NotFoundError("proxy"),
    errors.GenerationNotFoundError("task_not_exist: a passing fault, or a key of another account"),
    errors.UnexpectedAnswerError("the id of another generation"),
)
PLANS = st.builds(
    Plan,
    killed_at=st.sampled_from([*[None] * 10, *range(14)]),
    outages=st.sampled_from(
        [*[{}] * 6, *({name: times} for name in ("get", "set", "delete", "set but stored") for times in (1, 6))]
    ),
    sends=st.sampled_from([*[[]] * 4, *([first, second] for first in SENDS for second in SENDS)]),
    query_fails=st.sampled_from([*[None] * 6, *QUERY_FAILS]),
    deferred=st.booleans(),
    status_goes_back=st.sampled_from([False] * 5 + [True]),
    finds_nothing=st.sampled_from([False] * 5 + [True]),
    log=st.sampled_from(["none", "with ids", "with ids", "without ids", "late"]),
    foreign_rows=st.sampled_from([0, 0, 1, 3]),
    ends=st.sampled_from([None, End.SUCCESS, End.SUCCESS, End.FAILURE, End.MODERATED]),
    killed_after_all=st.booleans(),
)


class AnyFast:
    """The service: what it received, what it accepted (and so billed), and how that ended."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.ends: dict[str, End] = {}
        self.forgotten: set[str] = set()
        self.dead_links: set[str] = set()
        self.sent = 0

    def accept(self) -> str:
        self.accepted.append(f"asyntask_{len(self.accepted)}")
        return self.accepted[-1]

    def task(self, generation_id: str) -> Generation:
        if generation_id in self.forgotten or generation_id not in self.accepted:
            raise errors.GenerationNotFoundError("task_not_exist")
        end = self.ends.get(generation_id)
        if end is None:
            return Generation(generation_id, "IN_PROGRESS", Outcome.PENDING)
        if end is End.SUCCESS:
            return Generation(generation_id, "SUCCESS", Outcome.SUCCEEDED)
        code = "OutputVideoSensitiveContentDetected" if end is End.MODERATED else "InternalError"
        return Generation(generation_id, "FAILURE", Outcome.FAILED, failure_code=code, failure_message="no")


class OddShelf(Shelf):
    """Can store a value and raise an error nevertheless."""

    def set(self, value: dict[str, Any]) -> None:
        if self.failures.get("set but stored", 0) > 0:
            self.failures["set but stored"] -= 1
            self.value = dict(value)
            raise OutageError("502 Bad Gateway")
        super().set(value)


class Task(RuleBasedStateMachine):
    """One task instance, its user, and AnyFast."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.patch = pytest.MonkeyPatch()
        for name in ("now", "sleep", "sleep_async"):
            self.patch.setattr(f"airflow_provider_anyfast.client.clock.{name}", getattr(self.clock, name))
        self.shelf = OddShelf()
        self.task_state = Shelf()
        self.was_upgraded = False
        self.anyfast = AnyFast()
        self.wanted = True  # the user wants one video paid for, and it has not been
        self.paid_for: str | None = None  # what an attempt has certainly recorded
        self.request = 0
        self.rendering = 0
        self.has_resubmitted = False
        self.was_sent = False  # a request was sent whose response is not recorded
        self.may_have_left_an_intent = False
        self.made_for: dict[str, int] = {}
        self.max_tries = 3
        self.policy: OnLostSubmission = "fail"
        self.may_run = True
        self.ended = False  # the user has the file, or a message that there will be none
        self.refunded: set[str] = set()
        self.accepted_at: dict[str, float] = {}
        self.was_granted = False  # in this attempt, a resubmission of a lost one
        self.plan = Plan()
        self.sends: list[Send] = []
        self.steps = 0

    @initialize(policy=st.sampled_from(["fail", "resubmit"]))
    def a_task_is_written(self, policy: OnLostSubmission) -> None:
        self.policy = policy

    def teardown(self) -> None:
        try:
            self.no_task_is_stuck_forever()
        finally:
            self.patch.undo()

    # What the user and Airflow do.

    @rule(
        plan=PLANS,
        way=st.sampled_from(
            [
                *["retry"] * 2,
                "render differently",
                "clear",
                "clear with fewer retries",
                "clear that discards the task state",
                "change",
            ]
        ),
        is_upgraded=st.sampled_from([False] * 5 + [True]),
    )
    def attempt(self, plan: Plan, way: str, *, is_upgraded: bool) -> None:
        is_old = self.was_upgraded and self.shelf.value is None  # a record of 0.1.0 is lost with the task state
        if way == "clear that discards the task state" and not is_old:
            self.task_state.value = None
        if is_upgraded and self.shelf.value is not None:  # version 0.1.0 has written the record
            self.task_state.value, self.shelf.value = self.shelf.value, None
            self.was_upgraded = True
        if way == "change":
            self.change()
        elif way.startswith("clear") or not self.may_run:
            self.clear(has_fewer_retries=way == "clear with fewer retries")
        elif way == "render differently":
            self.rendering += 1
            record = self.record
            if record and record["max_tries"] != self.max_tries:  # no attempt has seen the clear yet
                self.wanted, self.ended = True, False
        owned = self.owned()
        before = len(self.anyfast.accepted)
        got = self.run(plan)
        assert got is None or self.made_for[got] == self.request, f"{got} is not what the user wants"
        if owned is not None:
            assert len(self.anyfast.accepted) == before, f"{owned} is paid for, and another was submitted"
            assert got in (None, owned)
            ready = self.anyfast.ends.get(owned) is End.SUCCESS and owned not in self.anyfast.dead_links
            assert got == owned or not (ready and plan.goes_well), f"{owned} was finished, and then lost"

    def clear(self, *, has_fewer_retries: bool = False) -> None:
        """A task that had ended, or has another request now, makes a new video; any other continues.

        Where the DAG has fewer retries than before, a clear may leave Airflow's number as it was.
        """
        self.max_tries += 0 if has_fewer_retries else 2
        self.has_resubmitted = False
        record = self.record or {"fingerprint": self.fingerprint}
        if self.ended or record["fingerprint"] != self.fingerprint:
            self.wanted, self.ended = True, False

    def change(self) -> None:
        """Another prompt, and so another video."""
        self.request += 1
        self.max_tries += 2
        self.has_resubmitted = False
        self.wanted, self.ended = True, False

    # What happens at AnyFast.

    @precondition(lambda self: self.running())
    @rule(end=st.sampled_from(End), number=st.integers(0))
    def a_generation_ends(self, end: End, number: int) -> None:
        running = self.running()
        self.anyfast.ends[running[number % len(running)]] = end

    @precondition(lambda self: self.anyfast.accepted)
    @rule(number=st.integers(0), kind=st.sampled_from(["link", "record"]))
    def a_generation_grows_old(self, number: int, kind: str) -> None:
        generation_id = self.anyfast.accepted[number % len(self.anyfast.accepted)]
        self.clock.advance(8 * 24 * 3600.0)
        (self.anyfast.dead_links if kind == "link" else self.anyfast.forgotten).add(generation_id)

    # What must hold.

    def no_task_is_stuck_forever(self) -> None:
        """Once nothing fails any more, a user who follows the messages has a file after a few clears."""
        for _ in range(4):
            for generation_id in self.running():
                self.anyfast.ends[generation_id] = End.SUCCESS
            self.clear()
            if self.run(Plan(ends=End.SUCCESS)):
                return
        pytest.fail("four clears did not yield a file")

    def was_about_to_be_reported(self) -> bool:
        """Whether the worker was killed after it recorded an end and before it reported it."""
        value = self.record or {}
        id_ = value.get("id", "")
        gone = id_ in self.anyfast.forgotten | self.anyfast.dead_links or self.anyfast.ends.get(id_) is End.MODERATED
        return {"lost": True, "closed": gone}.get(value.get("stage", ""), False)

    def running(self) -> list[str]:
        return [
            id_ for id_ in self.anyfast.accepted if id_ not in self.anyfast.ends and id_ not in self.anyfast.forgotten
        ]

    def owned(self) -> str | None:
        """The generation with which an attempt must continue: known, still wanted, and running or finished."""
        id_ = self.paid_for or (self.record or {}).get("id")
        if self.wanted or not id_:
            return None
        well = id_ not in self.anyfast.forgotten and self.anyfast.ends.get(id_) in (None, End.SUCCESS)
        return id_ if well else None

    # One attempt, in the order of the operator.

    @property
    def record(self) -> Any:
        """What an attempt would find."""
        return self.task_state.value if self.shelf.value is None else self.shelf.value

    def store(self) -> TaskStore:
        """Both places of a record, as ``ledger.stores`` uses them."""
        variable, task_state = Stepping(self, self.shelf), Stepping(self, self.task_state)
        return TaskStore(cast("VariableStore", variable), cast("TaskStateStore", task_state), doubts_absence=False)

    @property
    def fingerprint(self) -> str:
        return f"request {self.request}, rendered as {self.rendering}"

    def run(self, plan: Plan) -> str | None:
        """The generation whose file the attempt has saved."""
        self.plan, self.steps = plan, 0
        self.sends = list(plan.sends)
        self.was_granted = False
        self.clock.advance(300.0)
        self.anyfast.sent = 0
        store = self.store()
        self.shelf.failures = dict(plan.outages)
        self.may_have_left_an_intent |= plan.may_leave_an_intent
        is_unconfirmed = bool(self.record) and not self.record["id"]
        if self.policy == "resubmit" and is_unconfirmed and not (self.wanted or self.has_resubmitted):
            self.wanted = self.has_resubmitted = True  # a response was lost, and the user wants a new video
            self.was_granted = True
        try:
            return self.go(
                Ledger(store, fingerprint=self.fingerprint, max_tries=self.max_tries, traits=RequestTraits.of(REQUEST))
            )
        except KilledError:
            self.may_run = not self.ended
            self.ended = self.ended or self.was_about_to_be_reported()
        except AnyFastError as error:
            self.may_run = error.retryable
            if isinstance(error, errors.LostSubmissionError):
                assert self.was_sent or self.may_have_left_an_intent, "called lost, but never sent"
            lasting = (errors.LostSubmissionError, errors.LinkExpiredError, errors.ModerationError)
            is_gone = isinstance(error, errors.GenerationNotFoundError) and "7 days" in error.what
            self.ended = self.ended or isinstance(error, lasting) or is_gone
        finally:
            self.shelf.failures = {}
        return None

    def go(self, ledger: Ledger) -> str:
        generation = get_or_submit(
            ledger,
            ledger.plan(),
            submit=self.submit,
            query=self.query,
            look_up=self.look_up,
            on_lost_submission=self.policy,
        )
        # A refund stays one, even if a replica reports an earlier status. And until what was found is recorded, a clear
        # that no attempt has acknowledged still asks for a new video.
        is_refunded = generation.id in self.refunded
        self.wanted = self.wanted and (is_refunded or self.made_for[generation.id] != self.request)
        if self.plan.ends is not None and generation.id in self.running():
            self.anyfast.ends[generation.id] = self.plan.ends
        task = self.query(generation.id)
        if self.plan.deferred:
            ledger = Ledger(self.store(), max_tries=self.max_tries)
        if task.outcome is Outcome.PENDING:
            raise errors.GenerationTimeoutError("not ready")
        if task.outcome is Outcome.FAILED:
            ledger.mark_closed(generation.id)
            raise generation_failure(task)
        if generation.id in self.anyfast.dead_links:
            ledger.mark_closed(generation.id)
            raise errors.LinkExpiredError("expired")
        if self.plan.killed_after_all:
            raise KilledError
        self.ended = True  # Airflow has stored the success
        self.may_run = False
        with suppress(OutageError):
            self.store().delete()
        return generation.id

    def submit(self, guard: Guard) -> str:
        """Is rate limited, again if it is refused at first, and may be killed while it waits."""
        for _ in range(2):
            self.step()
            with suppress(errors.RateLimitError), guard():
                return self.send()
        self.step()
        with guard():
            return self.send()

    def send(self) -> str:
        self.step()
        self.anyfast.sent += 1
        self.was_sent = True
        kind: Send = self.sends.pop(0) if self.sends else "accepted"
        if kind == "refused":
            self.was_sent = False
            raise errors.RateLimitError("busy")
        assert self.wanted, "an unwanted submission"
        self.wanted, self.paid_for = False, None
        if kind != "not accepted, answer lost":
            self.made_for[self.anyfast.accept()] = self.request
            self.accepted_at[self.anyfast.accepted[-1]] = self.clock.now()
        if kind != "accepted":
            self.wanted = self.policy == "resubmit" and not self.has_resubmitted
            self.has_resubmitted |= self.wanted
            self.was_granted = self.wanted
            raise errors.LostAnswerError("lost")
        self.step()
        if self.plan.killed_at is None and not self.plan.outages:
            self.paid_for = self.anyfast.accepted[-1]
        return self.anyfast.accepted[-1]

    def look_up(self, lost: LostSubmission) -> Verdict:
        """Judges the log of this attempt. Other programs sent other requests, or several at that moment."""
        if self.plan.log == "none":
            return Unknown()
        self.step()
        self.clock.advance(60.0)
        ours = {
            id_: LogRow(at, CONSUME, "seedance", 1, f"r{id_}", id_ if self.plan.log != "without ids" else "")
            for id_, at in self.accepted_at.items()
            if self.plan.log != "late" or at < self.clock.now() - 400
        }
        foreign = [
            LogRow(lost.sent_at, CONSUME, "seedance", 1, f"f{n}", f"f{n}") for n in range(self.plan.foreign_rows)
        ]
        responses = {id_: self.response_about(id_) for id_ in ours if self.plan.log != "without ids"}
        others = {row.task_id: Generation(row.task_id, "SUCCESS", Outcome.SUCCEEDED, duration=9) for row in foreign[:1]}
        (verdict,) = judge(
            [lost], LogSnapshot([*ours.values(), *foreign], self.clock.now(), shown={**responses, **others})
        )
        if isinstance(verdict, Found):
            assert verdict.id in ours, "attached to a foreign video"
            assert self.accepted_at[verdict.id] == lost.sent_at, "attached to another submission's video"
        elif self.proves_one(lost, foreign_rows=len(foreign)):
            id_ = next(id_ for id_, at in self.accepted_at.items() if at == lost.sent_at)
            assert responses[id_] is None, "the log proves it, and it was not found"
        if not isinstance(verdict, Unknown) and self.was_granted:
            self.wanted = self.has_resubmitted = self.was_granted = False
        return verdict

    def proves_one(self, lost: LostSubmission, *, foreign_rows: int) -> bool:
        """Whether the log names the lost submission, and no other one within a minute of its time."""
        near = [at for at in self.accepted_at.values() if lost.sent_at - 70 < at < lost.sent_at + 500]
        return self.plan.log == "with ids" and not foreign_rows and near == [lost.sent_at]

    def response_about(self, generation_id: str) -> Generation | None:
        with suppress(AnyFastError):
            return self.anyfast.task(generation_id)
        return None

    def query(self, generation_id: str) -> Generation:
        self.step()
        if self.plan.query_fails is not None:
            raise self.plan.query_fails
        task = self.anyfast.task(generation_id)
        if self.plan.status_goes_back:
            return Generation(generation_id, "IN_PROGRESS", Outcome.PENDING)
        if self.anyfast.ends.get(generation_id) is End.FAILURE and generation_id not in self.refunded:
            self.refunded.add(generation_id)
            self.wanted = True
        self.step()
        return task

    def step(self) -> None:
        self.steps += 1
        if self.plan.killed_at is not None and self.steps > self.plan.killed_at:
            raise KilledError


class Stepping:
    """A store of a task, with a step before and after each call."""

    def __init__(self, task: Task, shelf: Shelf) -> None:
        self._task = task
        self._shelf = shelf

    def get(self) -> Any:
        self._task.step()
        if self._task.plan.finds_nothing:
            raise errors.LedgerError("Airflow does not find what it has just stored.")
        return self._shelf.get()

    def set(self, value: dict[str, Any]) -> None:
        self._task.step()
        self._shelf.set(value)
        self._task.step()

    def delete(self) -> None:
        self._task.step()
        self._shelf.delete()
        self._task.step()


TestNoCourseOfEventsPaysTwice = Task.TestCase
TestNoCourseOfEventsPaysTwice.settings = settings(
    max_examples=100, stateful_step_count=12, deadline=None, database=None
)
