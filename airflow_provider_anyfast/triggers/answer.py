"""The trigger of a review that waits for an answer which may exist already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.hitl import HITLTrigger

from airflow_provider_anyfast.triggers.base import hold_until_reaped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent


class AnswerTrigger(HITLTrigger):
    """Airflow's own trigger for answers, whose event does not come before the deferring worker has ended.

    Args:
        deferred_at: Unix seconds of the deferral.
        arguments: those of `HITLTrigger`.
    """

    def __init__(self, *, deferred_at: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.deferred_at = deferred_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments: the question's form, the id of its task instance, and times."""
        _, arguments = super().serialize()
        return f"{__name__}.{type(self).__qualname__}", {**arguments, "deferred_at": self.deferred_at}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: the answer, or that there is none in time."""
        await hold_until_reaped(self.deferred_at)
        async for event in super().run():
            yield event
