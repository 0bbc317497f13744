"""Changes to the JSON of a response, made after the request was carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.sandbox.faults.fault import Fault

GO_ZERO_TIME = "0001-01-01T00:00:00Z"
"""How Go writes a time that was never set."""


def change_for(fault: Fault) -> Callable[[Any], Any] | None:
    """Return the JSON of a good response as the fault changes it; ``None`` for a fault of another kind."""
    make = _CHANGES.get(fault.name)
    return None if make is None else lambda value: make(fault, value)


def _patch(fault: Fault, value: Any) -> Any:
    return merge_patch(value, fault.body)


def merge_patch(value: Any, patch: Any) -> Any:
    """Return ``value`` with a JSON merge patch (RFC 7396) applied."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), change)
    return merged


def _odd_id_place(fault: Fault, value: dict[str, Any]) -> Any:
    new_id = value.get("id", value.get("Id"))
    if fault.place == "list":
        return [{"id": new_id}]
    nested: Any = new_id
    for name in reversed(fault.place.split(".")):
        nested = {name: nested}
    return nested


def _wrong_total(_fault: Fault, value: dict[str, Any]) -> Any:
    return {**value, "TotalCount": 0}


def _another_task(fault: Fault, value: dict[str, Any]) -> Any:
    """Put the fault's id into the status; without one, the handler has already returned another task."""
    if fault.value is None:
        return value
    return merge_patch(value, {"data": {"task_id": fault.value}} if "data" in value else {"id": fault.value})


def _zero_time(fault: Fault, value: dict[str, Any]) -> Any:
    time = GO_ZERO_TIME if fault.value is None else fault.value
    return merge_patch(value, {"data": {"finish_time": time}})


_CHANGES: dict[str, Callable[[Fault, Any], Any]] = {
    "patch": _patch,
    "odd_id_place": _odd_id_place,
    "wrong_total": _wrong_total,
    "another_task": _another_task,
    "zero_time": _zero_time,
}
