"""Creating a group or an asset once: looking for it first, creating it, and telling apart what can go wrong."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_anyfast.assets.source import file_source
from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.consistency import LISTS_CATCH_UP
from airflow_provider_anyfast.client.errors import (
    AssetGroupNotFoundError,
    AssetTimeoutError,
    Cost,
    InvalidRequestError,
    LedgerError,
    LostAnswerError,
    WaitInterruptedError,
)
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.responses import Outcome, groups_named
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.purchase import submit_once
from airflow_provider_anyfast.ledger.record import Attach, Unconfirmed
from airflow_provider_anyfast.ledger.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from airflow_provider_anyfast.assets.parameters import IfAssetExists, IfGroupExists, UploadMethod
    from airflow_provider_anyfast.assets.source import AssetSource
    from airflow_provider_anyfast.client.responses import Asset, AssetGroup
    from airflow_provider_anyfast.client.transport import AnyFastClient, Guard

    FoundT = TypeVar("FoundT")

log = subject_logger(__name__)

CLOCK_SKEW = 120.0
"""Seconds by which AnyFast's clock and this one may differ."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 8.0
"""Seconds between two lookups of what was just created; each pause is twice as long as the one before."""


@dataclass(frozen=True)
class GroupCreation:
    """Creates a group, or finds the one with a name.

    Args:
        is_stopped: whether Airflow is ending the task.
    """

    client: AnyFastClient
    is_stopped: Callable[[], bool]
    if_exists: IfGroupExists = "reuse"

    def get_or_create(self, ledger: Ledger, name: str) -> str:
        """The group's id.

        AnyFast allows several groups with one name, so a creation whose response was lost is looked up first.

        Raises:
            InvalidRequestError: ``if_exists="fail"``, and there is a group with that name.
            LostAnswerError: the response is unknown; called again, this finds the group.
            AnyFastError: AnyFast refused, and nothing was billed.
        """
        plan = ledger.plan()
        if isinstance(plan, Attach):
            log.info("Group %s was created by an earlier attempt.", plan.id)
            return plan.id
        group = self._find_lost(name, plan.lost.sent_at) if isinstance(plan, Unconfirmed) else self._find_existing(name)
        if group is None:
            return self._create(ledger, name)
        ledger.record_submitted(group.id)
        return group.id

    def find(self, name: str, created_since: float = 0.0) -> AssetGroup | None:
        """The oldest group with exactly that name."""
        groups = [
            group
            for group in groups_named(self.client.run(endpoints.list_asset_groups(name=name)), name)
            if not 0.0 < group.created < created_since
        ]
        oldest = min(groups, key=lambda group: (group.created_at, group.id), default=None)
        if oldest is not None and len(groups) > 1:
            log.warning("%d groups are named %r; using the oldest: %s.", len(groups), name, oldest.id)
        return oldest

    def _find_existing(self, name: str) -> AssetGroup | None:
        if self.if_exists == "create":
            return None
        group = self.find(name)
        if group is not None and self.if_exists == "fail":
            raise InvalidRequestError(f"There is already a group named {name!r}: {group.id}.")
        return group

    def _find_lost(self, name: str, lost_at: float) -> AssetGroup | None:
        """The group that a lost creation may have made; with ``reuse``, any group of that name."""
        since = 0.0 if self.if_exists == "reuse" else lost_at - CLOCK_SKEW - self.client.settings.timeout
        return find_lost(self.client, lost_at, lambda: self.find(name, since), self.is_stopped)

    def _create(self, ledger: Ledger, name: str) -> str:
        """Creates the group, and looks again: another task may have created one with this name at the same moment."""
        log.info("Creating the asset group %r, which is billed.", name)
        group_id = create_once(ledger, partial(self.client.send, endpoints.create_asset_group(name)))
        oldest = self.find(name) if self.if_exists == "reuse" else None
        if oldest is None or oldest.id == group_id:
            return group_id
        ledger.record_submitted(oldest.id)
        log.warning("Another task created a group %r at the same moment: %s stays empty.", name, group_id)
        return oldest.id


@dataclass(frozen=True)
class AssetCreation:
    """Creates assets in one group.

    Args:
        is_stopped: whether Airflow is ending the task.
    """

    client: AnyFastClient
    group_id: str
    is_stopped: Callable[[], bool]
    if_exists: IfAssetExists = "reuse"

    def get_or_create(self, ledger: Ledger, source: AssetSource) -> tuple[str, bool]:
        """The asset's id, and whether it is known to be Active.

        Names are unique in a group, so AnyFast itself refuses to repeat a creation whose response was lost.

        Raises:
            InvalidRequestError: ``if_exists="fail"``, and there is an asset with that name.
            LostAnswerError: the response is unknown; called again, this finds the asset.
            AnyFastError: AnyFast refused, and nothing was billed.
        """
        plan = ledger.plan()
        if isinstance(plan, Attach):
            log.info("Asset %s was created by an earlier attempt.", plan.id)
            return plan.id, False
        if isinstance(plan, Unconfirmed):
            found = find_lost(self.client, plan.lost.sent_at, lambda: self.find(source.name), self.is_stopped)
        else:
            found = self.find(source.name)
            if found is not None and self.if_exists == "fail":
                raise self._name_is_taken(found)
        if found is not None and found.outcome is Outcome.FAILED:
            log.warning("Asset %s has this name and failed. Deleting it, which is not billed.", found.id)
            self.client.send(endpoints.delete_asset(found.id))
            found = None
        if found is None:
            return self._create(ledger, source), False
        log.info("Asset %s is already named %r. Reusing it; nothing is billed.", found.id, source.name)
        ledger.record_submitted(found.id)
        return found.id, found.outcome is Outcome.SUCCEEDED

    def find(self, name: str) -> Asset | None:
        """The asset with exactly that name; if there are several, one that can be used."""
        assets = self.client.run(endpoints.list_assets(group_ids=[self.group_id], name=name))
        rank = {Outcome.SUCCEEDED: 0, Outcome.PENDING: 1, Outcome.FAILED: 2}
        return min((asset for asset in assets if asset.name == name), key=lambda each: rank[each.outcome], default=None)

    def _create(self, ledger: Ledger, source: AssetSource) -> str:
        """Creates the asset. AnyFast returns "no such group" in three cases, which unbilled calls tell apart."""
        pauses = _pauses(LISTS_CATCH_UP)
        while True:
            log.info("Creating the asset %r in %s, which is billed.", source.name, self.group_id)
            try:
                return create_once(ledger, partial(source.create, self.client, self.group_id))
            except AssetGroupNotFoundError as error:
                namesake = self.find(source.name)
                if namesake is not None and self.if_exists == "fail":
                    raise self._name_is_taken(namesake) from error
                if namesake is not None:
                    log.info("Another task created %s at the same moment. Using it.", namesake.id)
                    ledger.record_submitted(namesake.id)
                    return namesake.id
                pause = next(pauses, None)
                if pause is None:
                    raise self._no_group(error) from error
                log.info("AnyFast does not know the group %s yet. Trying again in %.0f s.", self.group_id, pause)
                clock.pause(pause, self.is_stopped)
                if self.is_stopped():
                    raise WaitInterruptedError(
                        f"The task was stopped while it waited for the new group {self.group_id}.",
                        cost=Cost.NOTHING,
                        advice="The next attempt, or a clear, creates the asset.",
                    ) from error

    def _name_is_taken(self, found: Asset) -> InvalidRequestError:
        return InvalidRequestError(f"There is already an asset named {found.name!r} in {self.group_id}: {found.id}.")

    def _no_group(self, error: AssetGroupNotFoundError) -> AssetGroupNotFoundError:
        """The error, with what the list of groups shows."""
        listed = self.client.run(endpoints.list_asset_groups(group_ids=[self.group_id]))
        if any(group.id == self.group_id for group in listed):
            return error.with_context(
                f"The group {self.group_id} is in this key's list and contains no asset of this name, but AnyFast "
                f"did not accept the asset for {LISTS_CATCH_UP:.0f} s.",
                advice="Clear the task to try again. If it fails again, create a new group.",
            )
        return error.with_context(
            f"This key's list contains no group {self.group_id}, and none appeared within {LISTS_CATCH_UP:.0f} s.",
            advice="Check the group's id, and that the connection's key is the one that created the group.",
        )


def asset_of_file(
    client: AnyFastClient,
    group_id: str,
    file: str,
    *,
    name: str,
    asset_type: str | None,
    is_stopped: Callable[[], bool],
    upload: UploadMethod = "auto",
) -> str:
    """The id of a file's asset, found by its name or created. Raises as ``AssetCreation.get_or_create`` does.

    AnyFast keeps the names in a group unique, so the ledger of this purchase need not outlive the attempt.
    """
    ledger = Ledger(MemoryStore(), fingerprint=name, max_tries=0)
    creation = AssetCreation(client, group_id, is_stopped)
    with file_source(file, name=name, asset_type=asset_type, upload=upload) as source:
        return found_if_lost(lambda: creation.get_or_create(ledger, source)[0])


def found_if_lost(get_or_create: Callable[[], FoundT]) -> FoundT:
    """Calls ``get_or_create`` again if the response was lost, which finds what was created.

    Raises:
        AssetTimeoutError: the response was lost again. The next attempt finds what was created. This is not a
            ``LostAnswerError``, since no submission of a video was lost.
    """
    try:
        return get_or_create()
    except LostAnswerError as error:
        log.warning("%s Looking for it now.", error.what)
    try:
        return get_or_create()
    except LostAnswerError as error:
        raise AssetTimeoutError(error.what, cost=Cost.MAYBE) from error


def create_once(ledger: Ledger, send: Callable[[Guard], str]) -> str:
    """Sends one billed creation, as ``submit_once`` does, and records the time at which its response was lost.

    Raises:
        LostAnswerError: the response is unknown. ``find_lost`` counts from the recorded time, since the wait for the
            response may have been longer than the lists need.
    """
    try:
        return submit_once(ledger, send)
    except LostAnswerError:
        with suppress(LedgerError):  # if this fails, the record keeps the time of the request
            ledger.record_intent()
        raise


def find_lost(
    client: AnyFastClient, lost_at: float, find: Callable[[], FoundT | None], is_stopped: Callable[[], bool]
) -> FoundT | None:
    """Looks for what may have been created at ``lost_at`` (Unix seconds of any host), until it would surely be listed.

    A task that was killed has recorded the time of its request, which AnyFast may have executed a timeout later.

    Raises:
        WaitInterruptedError: the task must end. The record of the creation stays as it is.
    """
    longest = client.settings.timeout + LISTS_CATCH_UP
    left = min(max(0.0, lost_at + longest - clock.now()), longest)  # this host's clock may be behind
    for pause in _pauses(left):
        found = find()
        if found is not None:
            return found
        clock.pause(pause, is_stopped)
        if is_stopped():
            raise WaitInterruptedError(
                "The task was stopped while it looked for what it may have created, since the response was lost.",
                cost=Cost.MAYBE,
                advice="The next attempt, or a clear, looks for it before it creates anything.",
            )
    return find()


def _pauses(total: float) -> Iterator[float]:
    """Increasing pauses that add up to ``total`` seconds."""
    pause = _FIRST_PAUSE
    while total > 0:
        yield min(pause, total)
        total -= pause
        pause = min(2 * pause, _LONGEST_PAUSE)
