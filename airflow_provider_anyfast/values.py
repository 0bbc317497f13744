"""Parses one value from a user: as given, or as a template rendered it.

Each type here is for a field of a ``Parameters`` model, or for the signature of an operator.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import XComArg

    _ValueT = TypeVar("_ValueT")
    Templated: TypeAlias = _ValueT | XComArg | str
    """The type of a template field: a value, the output of another task, or a template that renders to a value."""
    TemplatedText: TypeAlias = XComArg | str
    """The type of a template field whose value is text."""
    Duration: TypeAlias = float | timedelta | XComArg | str
    """Seconds, as a number, as text (``"600"``, ``"00:10:00"``, ``"PT10M"``) or as a ``timedelta``."""

LONGEST_DURATION = timedelta(days=366)
"""A longer wait is a mistake, such as milliseconds; AnyFast itself forgets a generation after 7 days."""
PLACEHOLDER = "{generation_id}"
"""What AnyFast's id of a video replaces in the path of its file."""
_IN_NO_ID = ",;[]{}'\""
"""Characters that occur in a list of ids, but never in an id."""
_NO_VALUE = frozenset(
    (
        *("", "None", "null", "NULL", "NaN", "nan", "NaT", "<NA>", "N/A", "n/a"),
        *("#N/A", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#ERROR!"),
    )
)
"""How templates, data frames and spreadsheets write a missing value, or a formula without a result."""
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def is_blank(value: Any) -> bool:
    """Whether this is no value: None, any kind of NaN, blank text, or text that exports and templates write for these.

    A list or an object always is a value.
    """
    is_scalar = isinstance(value, str) or not isinstance(value, Iterable)
    return is_scalar and str(value).strip() in _NO_VALUE


def may_be_none(template: Any) -> bool:
    """Whether a template states that it may render no value, as ``{{ row.picture or none }}`` does."""
    if isinstance(template, list | tuple):
        return any(map(may_be_none, template))
    if not isinstance(template, str):
        return False
    return any(re.search(r"\b[nN]one\b", _QUOTED.sub("", found)) for found in _EXPRESSION.findall(template))


def without_jinja(text: str) -> str:
    """What an author wrote outside of Jinja's expressions."""
    return _EXPRESSION.sub("", text)


def decode(text: str, make_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The list or object in a text: JSON, or a Python list or dict as a template renders it.

    Args:
        text: the text to decode.
        make_object: creates each JSON object from its pairs of names and values; None creates dicts.

    Raises:
        ValueError: it is neither.
    """
    try:
        return json.loads(text, object_pairs_hook=make_object)
    except (json.JSONDecodeError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _wrong("neither JSON nor a Python literal") from None


def _wrong(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("anyfast", sentence)


def absent_if_blank(value: Any) -> Any:
    """None in place of a blank value."""
    return None if is_blank(value) else value


def _not_a_flag(value: Any) -> Any:
    """Refuses True and False, which Python would accept as 1 and 0."""
    if isinstance(value, bool):
        raise _wrong("give a number")
    return value


def _not_a_number(value: Any) -> Any:
    if isinstance(value, int | float):
        raise _wrong("give a text")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip()
        try:
            value = float(value)
        except ValueError:
            value = _timedelta_in(value)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise _wrong("give seconds above 0, such as 600, '600' or '00:10:00', or a timedelta")
    if not 0 < value <= LONGEST_DURATION.total_seconds():
        raise _wrong(f"give seconds above 0, and at most {LONGEST_DURATION.days} days")
    return float(value)


def _timedelta_in(text: str) -> Any:
    try:
        return TypeAdapter(timedelta).validate_python(text)
    except ValidationError:
        return text


def _texts(value: Any) -> Any:
    """Converts a single text to a list of one, and the text that a template rendered from a list to that list."""
    if is_blank(value):
        return ()
    value = path_as_text(value)
    if isinstance(value, str):
        return decode(value) if value.lstrip().startswith("[") else (value,)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return tuple(map(path_as_text, value))
    return value


def _object(value: Any, absent: Any) -> Any:
    if is_blank(value):
        return absent
    return decode(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value


def _filled(value: Any) -> Any:
    if is_blank(value):
        raise _wrong("it is empty, or its template rendered to nothing")
    return value.strip() if isinstance(value, str) else value


def path_as_text(value: Any) -> Any:
    """A path, or an ``ObjectStoragePath``, as text; anything else unchanged."""
    return str(value) if is_path(value) else value


def _file_path(value: Any) -> Any:
    return _filled(_not_a_number(path_as_text(value)))


def is_path(value: Any) -> bool:
    """Whether ``value`` is a ``Path`` or an ``ObjectStoragePath``."""
    return isinstance(value, PathLike) or hasattr(value, "joinpath")


def _id(value: Any) -> str:
    value = _filled(value)
    if not isinstance(value, str):
        raise _wrong("give one id, as text")
    if not value.isprintable() or any(sign.isspace() or sign in _IN_NO_ID for sign in value):
        raise _wrong("give one id, without spaces, commas, brackets, quotes or control characters")
    return value


_Optional = BeforeValidator(absent_if_blank)

Whole = Annotated[int, BeforeValidator(_not_a_flag), Field(gt=0)]
"""A whole number above 0."""
InFlight = Annotated[Whole, Field(le=100)]
"""A number of concurrent requests; httpx's pool has 100 connections."""
Share = Annotated[float, BeforeValidator(_not_a_flag), Field(ge=0, le=1)]
"""A number from 0 to 1."""
Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration above 0 in seconds."""
Switch = Annotated[bool, Strict()]
"""True or False, of a parameter that is not a template field, so that text is refused."""
OnLostSubmission = Literal["fail", "resubmit"]
"""What a task does if the response to a submission was lost and nothing shows whether AnyFast accepted it."""
FilledText = Annotated[str, BeforeValidator(_filled)]
"""Text that is not empty."""
FilePath = Annotated[str, BeforeValidator(_file_path)]
"""A local path or a URL: text, a ``Path``, or an ``ObjectStoragePath``."""
OptionalFilePath = Annotated[FilePath | None, BeforeValidator(absent_if_blank)]
Id = Annotated[str, BeforeValidator(_id)]
"""An id that is not empty."""
Ids = Annotated[tuple[Id, ...], BeforeValidator(_texts)]
"""Ids; a single one is a list of one."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""Texts; a single one is a list of one."""
GivenIds = Annotated[Ids, BeforeValidator(_filled)]
"""Ids; an empty text is refused, but an empty list is allowed."""
OptionalWhole = Annotated[Whole | None, _Optional]
OptionalInteger = Annotated[Annotated[int, BeforeValidator(_not_a_flag)] | None, _Optional]
"""A whole number, positive or negative, or None."""
OptionalSeconds = Annotated[Seconds | None, _Optional]
OptionalFlag = Annotated[bool | None, _Optional]
OptionalText = Annotated[str | None, _Optional]
OptionalId = Annotated[Id | None, _Optional]
Object = Annotated[dict[str, Any], BeforeValidator(lambda value: _object(value, absent={}))]
"""A mapping, also as JSON; empty if it is absent."""
Objects = Annotated[tuple[dict[str, Any], ...], BeforeValidator(lambda value: _object(value, absent=()))]
"""Several mappings, also as JSON; empty if they are absent."""
