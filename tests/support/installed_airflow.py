"""What differs between Airflow 3.1 and 3.4 for the tests: the only module that checks which one is installed.

3.1 stores the arguments of a deferral in another form, and has some classes in other modules. 3.3 added the task state
store, and 3.3.2 masks secrets without blocking an event loop. 3.4 discards the state of a task instance that is
cleared, and its task SDK uses httpx2.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow import __version__
from airflow.sdk import Connection, Variable
from airflow.sdk.api import client
from airflow.sdk.execution_time import comms
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx as sdk_http
else:
    sdk_http = getattr(client, "httpx2", None) or client.httpx
    """The HTTP library of the task SDK; its client only accepts its own transports and responses."""

__all__ = [
    "CAN_RESCHEDULE",
    "CLEAR_DISCARDS_STATE",
    "HAS_LOOPS",
    "HAS_STATE_STORE",
    "LEDGER_PLACES",
    "LISTS_VARIABLES",
    "LOADS_ANY_EXTRA",
    "MASKS_SYNCHRONOUSLY",
    "QUESTION_OUTLIVES_RETRY",
    "RUN_FIELDS",
    "TRIGGERER_HAS_ONE_LOOP",
    "DagBag",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "read_kwargs",
    "read_xcom",
    "sdk_http",
    "stored_kwargs",
    "stored_xcom",
]

IS_3_1 = find_spec("airflow.sdk.serde") is None

if TYPE_CHECKING or not IS_3_1:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
    from airflow.sdk.serde import deserialize, serialize

    _serialize_kwargs, _deserialize_kwargs = serialize, deserialize
else:
    from airflow.exceptions import TaskDeferralError, TaskDeferralTimeout
    from airflow.models.dagbag import DagBag
    from airflow.serialization.serde import deserialize, serialize
    from airflow.serialization.serialized_objects import BaseSerialization

    _serialize_kwargs, _deserialize_kwargs = BaseSerialization.serialize, BaseSerialization.deserialize

HAS_STATE_STORE = hasattr(comms, "GetTaskStateStore")
"""Whether a task's context contains ``task_state_store``."""

HAS_LOOPS = find_spec("airflow.sdk.definitions.loop") is not None
"""Whether a group of tasks can run in a loop (3.4)."""

_RELEASE = Version(Version(__version__).base_version)
CLEAR_DISCARDS_STATE = Version("3.4") <= _RELEASE
"""Whether clearing a task instance empties its state store unless the user asks to keep it (3.4)."""

LISTS_VARIABLES = hasattr(Variable, "keys")
"""Whether a task can list Variables (3.4)."""

CAN_RESCHEDULE = Version("3.4") <= _RELEASE
"""Whether a retry policy can run a task again without using up a retry (3.4)."""

QUESTION_OUTLIVES_RETRY = Version("3.4") > _RELEASE
"""Whether the next try of a human-in-the-loop task keeps the last one's question and answer."""

FOLDS_EXTRA_FIELDS = Version("3.4") > _RELEASE
"""Whether the form of a connection has the fields of its type in a part that must be opened."""

LEDGER_PLACES = (
    pytest.param(True, id="state store", marks=pytest.mark.state_store),
    pytest.param(False, id="variable"),
)
"""Values of ``TaskRunner.state_store``, for `pytest.mark.parametrize`; an Airflow without one deselects the first."""

MASKS_SYNCHRONOUSLY = not hasattr(Connection, "aextra_dejson")
"""Whether ``aget_connection`` masks secrets in a call that is not awaited, and ignores its failure (before 3.3.2)."""

LOADS_ANY_EXTRA = not IS_3_1
"""Whether Airflow loads a connection whose extra is JSON but not an object; 3.1 reports an error."""

RUN_FIELDS: dict[str, Any] = {} if IS_3_1 else {"partition_key": None}
"""Fields of the DAG run that only this version passes to a task."""

TRIGGERER_HAS_ONE_LOOP = IS_3_1
"""Whether a call from another event loop than the triggerer's own breaks its connection to the supervisor (3.1)."""


def stored_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a trigger or of a resumed method as Airflow's database stores them."""
    return cast("dict[str, Any]", json.loads(json.dumps(_serialize_kwargs(dict(kwargs)))))


def read_kwargs(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, read from that form."""
    return cast("dict[str, Any]", _deserialize_kwargs(json.loads(json.dumps(stored))))


def stored_xcom(value: object) -> Any:
    """What XCom stores for ``value``."""
    return json.loads(json.dumps(serialize(value)))


def read_xcom(stored: Any) -> Any:
    """The value that a task gets for a stored XCom."""
    return deserialize(stored)
