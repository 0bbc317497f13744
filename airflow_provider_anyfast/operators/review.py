"""Asking a person which videos to approve."""

from __future__ import annotations

import inspect
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk import __version__ as sdk_version
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.timezone import utcnow
from pydantic import Field

from airflow_provider_anyfast.batch import review
from airflow_provider_anyfast.batch.review import Answer
from airflow_provider_anyfast.batch.rows import verbatim
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.exceptions import fail_fast
from airflow_provider_anyfast.ledger.removal import after_skip, after_success
from airflow_provider_anyfast.ledger.stores import ANSWER_KEY, store_for
from airflow_provider_anyfast.links.page import page_address
from airflow_provider_anyfast.parameters import Parameters, check_literals, read
from airflow_provider_anyfast.triggers.answer import AnswerTrigger
from airflow_provider_anyfast.values import FilledText, Object, OptionalSeconds, OptionalText
from airflow_provider_anyfast.wording import counted
from airflow_provider_anyfast.xcoms import REJECTED_KEY, REVIEW_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import BaseNotifier, Context
    from airflow.sdk.execution_time.hitl import HITLUser

    from airflow_provider_anyfast.batch.review import Draft
    from airflow_provider_anyfast.values import Duration

try:
    from airflow.sdk.exceptions import TaskAwaitingInput  # since Airflow 3.3; before, a trigger waits for the answer
except ImportError:
    TaskAwaitingInput = TaskDeferred  # type: ignore[assignment,misc]  # see above

_NAMES = inspect.signature(HITLOperator.__init__).parameters
_TIMEOUT = "response_timeout" if "response_timeout" in _NAMES else "execution_timeout"
"""The installed Airflow's name for the parameter that limits the time for an answer."""
_QUESTION_OUTLIVES_RETRY = tuple(map(int, sdk_version.split(".")[:2])) < (1, 4)
"""Before Airflow 3.4, the next attempt of a task keeps the last one's question and its answer."""


class ReviewParameters(Parameters):
    """The parameters of a review, except for its videos and for those that Airflow itself checks."""

    final: Object = Field(default_factory=dict)
    returns: Literal["rows", "keywords"] = "rows"
    on_none: Literal["skip", "fail"] = "skip"
    subject: FilledText = "subject"
    body: OptionalText = None
    response_timeout: OptionalSeconds = None


class ReviewVideosOperator(HITLOperator):
    """Asks a person once which of a run's videos to approve, and returns what their finals need. Not billed.

    It holds no worker while it waits. The person watches and selects on the run's Videos page, or answers in Airflow's
    own form. Only videos named in the answer are approved, so a final that nobody reviewed is never made: an answer to
    an earlier question, about videos that have been made again since, is refused. A retry continues with the given
    answer; a clear asks again.

    Args:
        videos: the videos to review: the output of ``GenerateVideoBatchOperator`` or of ``GenerateVideoOperator``,
            mapped or not, the path of a manifest, or a list of these. Videos that failed are left out.
        final: parameters that differ in the finals, such as ``{"resolution": "1080p"}``.
        returns: ``rows`` for ``GenerateVideoBatchOperator(rows=…)``, or ``keywords`` for
            ``GenerateVideoOperator.partial(…).expand_kwargs(…)``.
        on_none: what happens if no video is approved: ``skip`` this task and with it the finals, or ``fail``.
        subject: the title of the question.
        body: Markdown above the list of videos.
        defaults: the answer if nobody responds within ``response_timeout``: ``ReviewVideosOperator.APPROVE`` approves
            all videos, ``ReviewVideosOperator.REJECT`` none. None fails the task.
        response_timeout: how long to wait for an answer, as a ``timedelta`` or in seconds; None waits without a limit.
        assigned_users: who may answer; None lets everyone answer who has permission in this DAG.
        notifiers: called when the question is asked.

    Returns:
        With ``returns="rows"``, for each approved video its row of the table and the column ``review``:
        ``{"row", "note", "prompt", "seed", "parameters", "generation_id", "path"}``. With ``keywords``, its parameters
        and its seed. The XCom ``rejected`` lists the others: ``{"row", "note", "generation_id"}``.

    Raises:
        InvalidRequestError: ``videos`` are not videos, or the answer is about others.
        AirflowSkipException, AirflowFailException: no video was approved, or nobody answered.
        StorageError: a manifest cannot be read. A retry reads it again, and keeps the answer.
    """

    APPROVE, REJECT = review.APPROVE, review.REJECT
    template_fields: Sequence[str] = ("subject", "body", "videos", "final")
    ui_color = "#e8f0ff"

    def __init__(
        self,
        *,
        videos: Any,
        final: dict[str, Any] | None = None,
        returns: Literal["rows", "keywords"] = "rows",
        on_none: Literal["skip", "fail"] = "skip",
        subject: str = "Which videos are approved?",
        body: str | None = None,
        defaults: str | None = None,
        response_timeout: Duration | None = None,
        assigned_users: HITLUser | list[HITLUser] | None = None,
        notifiers: Sequence[BaseNotifier] | BaseNotifier | None = None,
        **kwargs: Any,
    ) -> None:
        parsed, _ = ReviewParameters.try_parse(response_timeout=response_timeout)  # check_literals names its problem
        seconds = parsed.response_timeout if parsed else None
        timeout: dict[str, Any] = {_TIMEOUT: timedelta(seconds=seconds) if seconds else None}
        kwargs.pop("params", None)  # Airflow passes the DAG's params to every operator, and the form has its own
        kwargs |= timeout  # its older name is in those of mapped tasks and in many default_args
        super().__init__(
            subject=subject,
            body=body,
            options=[review.APPROVE, review.REJECT],
            defaults=defaults,
            params=_form({}),
            assigned_users=assigned_users,
            notifiers=notifiers,
            **kwargs,
        )
        self.videos = videos
        self.final = final
        self.returns = returns
        self.on_none = on_none
        self.on_success_callback = [*(self.on_success_callback or ()), after_success(ANSWER_KEY)]
        self.on_skipped_callback = [*(self.on_skipped_callback or ()), after_skip(ANSWER_KEY)]
        self.response_timeout = response_timeout  # type: ignore[assignment]  # as given, until it is checked
        check_literals(self, ReviewParameters)
        self.response_timeout = timeout[_TIMEOUT]

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Asks, or continues with the answer that an earlier attempt got."""
        with fail_fast(context):
            read(self, ReviewParameters)
            drafts = review.drafts_of(self.videos)
            if not drafts:
                return self._end_without_approval("There is no finished video to review.")
            asked = {"question": review.question_of(drafts), "max_tries": context["ti"].max_tries}
            record = store_for(context, ANSWER_KEY).get() or {}
            is_asked = all(record.get(name) == value for name, value in asked.items())
            if is_asked and record.get("answer"):
                return self._end(context, drafts, Answer.parse(record["answer"]))
            self._publish_question(context, drafts)
            try:
                self._ask(context, drafts, again=not is_asked)
            except (TaskDeferred, TaskAwaitingInput):
                store_for(context, ANSWER_KEY).set(asked)  # only now is there a question that a retry can wait for
                raise

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Stores the answer before anything can fail, and returns the approved videos."""
        with fail_fast(context):
            if "error" in event:
                is_invalid = event.get("error_type") == "validation"
                what = "The answer does not fit the form" if is_invalid else "Nobody answered"
                raise AirflowFailException(
                    f"{what}: {event['error'].rstrip('.')}. Nothing was billed. Clear this task to ask again."
                )
            store = store_for(context, ANSWER_KEY)
            record = store.get() or {}
            answer = Answer.of_event(event, record.get("question", ""))
            store.set({**record, "answer": answer.to_json()})
            self.log.info("%s", "Nobody answered in time." if answer.timed_out else f"Answered by {_name_of(event)}.")
            return self._end(context, review.drafts_of(self.videos), answer)

    def _ask(self, context: Context, drafts: Sequence[Draft], *, again: bool) -> NoReturn:
        """Leaves the worker until there is an answer.

        Airflow discards an answer when the same question is asked again, so a retry only waits for it. Since 3.4 the
        question does not outlive a retry, so the retry asks again.

        An answer that exists would resume the task at once, and Airflow often fails a task that runs again before the
        worker that left it has been reaped. So a retry waits in its own trigger also where Airflow has a state for it.
        """
        page = page_address(context["ti"].dag_id, context["ti"].run_id)
        self.body = "\n\n".join(filter(None, [self.body, review.text_of(drafts, page)]))
        self.params = _form(review.labels_of(drafts))
        if again or not _QUESTION_OUTLIVES_RETRY:
            with suppress(TaskDeferred):  # before 3.3, for a trigger that does not wait for the worker to be reaped
                super().execute(context)
        self.defer(
            trigger=AnswerTrigger(
                ti_id=context["ti"].id,
                options=self.options,
                defaults=self.defaults,
                params=self.serialized_params,
                timeout_datetime=utcnow() + self.response_timeout if self.response_timeout else None,
                deferred_at=clock.now(),
            ),
            method_name="execute_complete",
        )

    def _publish_question(self, context: Context, drafts: Sequence[Draft]) -> None:
        published = {
            "question": review.question_of(drafts),
            "videos": [draft.key for draft in drafts],
            "manifests": review.manifests_of(self.videos),
        }
        context["ti"].xcom_push(REVIEW_KEY, published)

    def _end(self, context: Context, drafts: Sequence[Draft], answer: Answer) -> list[dict[str, Any]]:
        approved = review.chosen(drafts, answer)
        taken = {draft.key for draft, _ in approved}
        rejected = [
            {"row": draft.row, "note": review.note_for(draft, answer) or None, "generation_id": draft.key}
            for draft in drafts
            if draft.key not in taken
        ]
        context["ti"].xcom_push(REJECTED_KEY, rejected)
        self.log.info("Approved %d of %s.", len(approved), counted(len(drafts), "video"))
        if not approved:
            return self._end_without_approval("No video was approved.")
        final = read(self, ReviewParameters).final
        if self.returns == "keywords":
            return [verbatim(review.keywords_of(draft, final)) for draft, _ in approved]
        return [review.row_of(draft, note, final) for draft, note in approved]

    def _end_without_approval(self, reason: str) -> NoReturn:
        kind = AirflowFailException if self.on_none == "fail" else AirflowSkipException
        raise kind(f"{reason} No final is made, and nothing more is billed. Clear this task to ask again.")


def _form(labels: Mapping[str, str]) -> ParamsDict:
    """The fields of the question: a list to select from, and the notes."""
    return ParamsDict(
        {
            review.VIDEOS: Param(
                [],
                title="Videos to approve",
                type=["array", "null"],
                items={"type": "string"},
                examples=list(labels),
                values_display=dict(labels),
            ),
            review.NOTES: Param({}, title="Notes by row", type=["object", "null"]),
        }
    )


def _name_of(event: Mapping[str, Any]) -> str:
    """The user who answered; Airflow's event has the user's id and name."""
    user = event["responded_by_user"]
    return str(user.get("name") or user.get("id")) if isinstance(user, dict) else str(user)
