"""Reads what users give to operators and sensors: as it is, or as a template has rendered it.

An operator names its parameters as a ``Parameters`` model. ``check_literals`` checks, while the DAG is parsed, what
holds no template; ``read`` checks everything before anything is billed. Both list every problem in one error.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias, TypeVar, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from airflow.sdk import XComArg
    from typing_extensions import Self

    _ValueT = TypeVar("_ValueT")
    Templated: TypeAlias = _ValueT | XComArg | str
    """What a template field takes: a value, the output of another task, or a template that renders to it."""
    TemplatedText: TypeAlias = XComArg | str
    """The same for a parameter that is text."""
    Duration: TypeAlias = float | timedelta | XComArg | str
    """Seconds, as a number, as text (``"600"``, ``"00:10:00"``, ``"PT10M"``) or as a ``timedelta``."""

LONGEST_DURATION = timedelta(days=366)
"""A longer wait is a mistake, such as milliseconds; AnyFast itself forgets a generation after 7 days."""
_TEMPLATED = "_anyfast_templated"
"""The attribute of an operator that names the parameters that Airflow resolves. One of these that is empty was meant to
be something, which its value alone does not tell."""
_OPTIONAL = "_anyfast_optional"
"""The attribute that holds which of these say themselves that they may come to nothing."""
_LONGEST_SHOWN = 80
_IN_NO_ID = ",;[]{}'\""
"""What stands in the text of several ids, and in none."""
_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def is_blank(value: Any) -> bool:
    """Whether this is no value: None, or the text that a template makes of nothing."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None", "null"))


def may_be_none(template: Any) -> bool:
    """Whether a template says that it may render no value, as ``{{ row.picture or none }}`` does."""
    if isinstance(template, list | tuple):
        return any(map(may_be_none, template))
    if not isinstance(template, str):
        return False
    return any(re.search(r"\b[nN]one\b", _QUOTED.sub("", found)) for found in _EXPRESSION.findall(template))


def decode(text: str, make_object: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The list or object in a text: JSON, or what a template makes of a Python list or dict.

    Args:
        text: what is decoded.
        make_object: makes each object of JSON from its pairs of names and values; None makes dicts.

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


def _absent_if_blank(value: Any) -> Any:
    return None if is_blank(value) else value


def _not_a_flag(value: Any) -> Any:
    """Python counts True as 1, which is never what was meant."""
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
    """A single text is a list of one, and the text that a template makes of a list is that list."""
    if is_blank(value):
        return ()
    if isinstance(value, str):
        return decode(value) if value.lstrip().startswith("[") else (value,)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | bytes):
        return tuple(value)
    return value


def _object(value: Any, absent: Any) -> Any:
    if is_blank(value):
        return absent
    return decode(value) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value


def _filled(value: Any) -> Any:
    if is_blank(value):
        raise _wrong("it is empty, or its template rendered to nothing")
    return value.strip() if isinstance(value, str) else value


def _file_path(value: Any) -> Any:
    return str(value) if _is_path(value) else _filled(_not_a_number(value))


def _is_path(value: Any) -> bool:
    return isinstance(value, PathLike) or hasattr(value, "joinpath")


def _id(value: Any) -> str:
    value = _filled(value)
    if not isinstance(value, str):
        raise _wrong("give one id, as text")
    if not value.isprintable() or any(sign.isspace() or sign in _IN_NO_ID for sign in value):
        raise _wrong("give one id, without spaces, commas, brackets, quotes or control characters")
    return value


_Optional = BeforeValidator(_absent_if_blank)

Number = Annotated[float, BeforeValidator(_not_a_flag), Field(gt=0, allow_inf_nan=False)]
"""A number above 0."""
Whole = Annotated[int, BeforeValidator(_not_a_flag), Field(gt=0)]
"""A whole number above 0."""
InFlight = Annotated[Whole, Field(le=100)]
"""How many at the same time: there are 100 connections in httpx's pool."""
Share = Annotated[float, BeforeValidator(_not_a_flag), Field(ge=0, le=1)]
"""A number from 0 to 1."""
Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration above 0 in seconds."""
Flag = bool
"""True or False, also as text."""
Switch = Annotated[bool, Strict()]
"""True or False, of a parameter that no template renders, so that what was given is what counts."""
FilledText = Annotated[str, BeforeValidator(_filled)]
"""Text that is not empty."""
FilePath = Annotated[str, BeforeValidator(_file_path)]
"""A local path or a URL: text, a ``Path``, or an ``ObjectStoragePath``."""
OptionalFilePath = Annotated[FilePath | None, BeforeValidator(_absent_if_blank)]
Id = Annotated[str, BeforeValidator(_id)]
"""An id that is there."""
Ids = Annotated[tuple[Id, ...], BeforeValidator(_texts)]
"""Ids; a single one is a list of one."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""Texts; a single one is a list of one."""
GivenIds = Annotated[Ids, BeforeValidator(_filled)]
"""The same, and not an empty text; a list without an id is one of nothing."""
OptionalWhole = Annotated[Whole | None, _Optional]
OptionalInteger = Annotated[Annotated[int, BeforeValidator(_not_a_flag)] | None, _Optional]
"""A whole number of any sign, or None."""
OptionalSeconds = Annotated[Seconds | None, _Optional]
OptionalFlag = Annotated[bool | None, _Optional]
OptionalText = Annotated[str | None, _Optional]
OptionalId = Annotated[Id | None, _Optional]
Object = Annotated[dict[str, Any], BeforeValidator(lambda value: _object(value, absent={}))]
"""A mapping, also as JSON; empty if it is absent."""
Objects = Annotated[tuple[dict[str, Any], ...], BeforeValidator(lambda value: _object(value, absent=()))]
"""Several mappings, also as JSON; empty if they are absent."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with parameters that are fine each by itself.

    Attributes:
        parameters: those that it depends on. It is left out while one of them is not known yet.
        sentence: what is wrong, without a full stop.
    """

    parameters: frozenset[str]
    sentence: str


class Parameters(BaseModel):
    """The parameters of an operator, or part of them, with values that can be worked with.

    Every field has a default, which stands in for a value that is not known while the DAG is parsed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, defer_build=True)

    meant_if_given: ClassVar[frozenset[str]] = frozenset()
    """Parameters that may be left out, and must not be empty where they are given: without its picture, another video
    would be billed than the one that was wanted."""
    may_render_none: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are left out where their template says so, as ``{{ params.picture or none }}`` does."""

    def problems(self) -> Iterator[Problem]:
        """What is wrong with several parameters together."""
        return iter(())

    @classmethod
    def parse(cls, **values: Any) -> Self:
        """These parameters from plain values.

        Raises:
            InvalidRequestError: listing every problem.
        """
        parameters, sentences = cls.try_parse(**values)
        if parameters is None or sentences:
            raise _refusal(sentences)
        return parameters

    @classmethod
    def try_parse(cls, **values: Any) -> tuple[Self | None, list[str]]:
        """These parameters, if they can be made of the values, and everything that is wrong with them."""
        return _parse_known(cls, values)


class TaskParameters(Parameters):
    """The parameters of every operator.

    ``anyfast_conn_id`` is the hook's default where it is not given.
    """

    anyfast_conn_id: Id = "anyfast_default"


ParametersT = TypeVar("ParametersT", bound=Parameters)
OtherT = TypeVar("OtherT", bound=Parameters)


def literal_problems(kind: type[Parameters], values: Mapping[str, Any]) -> list[str]:
    """What is wrong with those of the ``values`` that hold no template."""
    return _parse_known(kind, values, {name for name, value in values.items() if _is_templated(value)})[1]


def check_literals(operator: Any, *kinds: type[Parameters]) -> None:
    """Checks what holds no template, at the end of an operator's ``__init__``, so that a mistake shows in the DAG list.

    Paths become text: Airflow 3.1 takes a ``Path`` for something that it has to resolve, and no Airflow renders one.

    Raises:
        InvalidRequestError: listing every problem.
    """
    for name in {name for kind in kinds for name in kind.model_fields} & {*operator.template_fields}:
        setattr(operator, name, _paths_as_text(getattr(operator, name)))
    templated = {
        name
        for kind in kinds
        for name in kind.model_fields
        if name in operator.template_fields and _is_templated(getattr(operator, name))
    }
    may_be_absent = frozenset[str]().union(*(kind.may_render_none for kind in kinds)) & templated
    optional = {name for name in may_be_absent if may_be_none(getattr(operator, name))}
    setattr(operator, _TEMPLATED, frozenset(templated - optional))
    setattr(operator, _OPTIONAL, frozenset(optional))
    # Airflow builds an instance of a mapped task on the worker, where ``execute`` is about to check everything, and
    # where an error that is raised this early would cost the task its retries.
    if getattr(operator, "_BaseOperator__from_mapped", False):
        return
    sentences = [sentence for kind in kinds for sentence in _parse_known(kind, _values(operator, kind), templated)[1]]
    if sentences:
        raise _refusal(sentences, advice="Correct the DAG file.")


@overload
def read(operator: Any, kind: type[ParametersT], /) -> ParametersT: ...


@overload
def read(operator: Any, kind: type[ParametersT], other: type[OtherT], /) -> tuple[ParametersT, OtherT]: ...


def read(operator: Any, *kinds: type[Parameters]) -> Parameters | tuple[Parameters, ...]:
    """The parameters of an operator whose templates are rendered, before anything is billed.

    Raises:
        InvalidRequestError: listing every problem of all ``kinds``.
    """
    meant: frozenset[str] = getattr(operator, _TEMPLATED, frozenset())
    parsed = [_parse_known(kind, _values(operator, kind), meant=meant) for kind in kinds]
    sentences = [sentence for _, found in parsed for sentence in found]
    if sentences:
        raise _refusal(sentences)
    parameters = tuple(each for each, _ in parsed if each is not None)
    return parameters[0] if len(parameters) == 1 else parameters


def _values(operator: Any, kind: type[Parameters]) -> dict[str, Any]:
    optional: frozenset[str] = getattr(operator, _OPTIONAL, frozenset())
    values = {name: getattr(operator, name) for name in kind.model_fields}
    return {name: _without_blanks(value) if name in optional else value for name, value in values.items()}


def _without_blanks(value: Any) -> Any:
    items = isinstance(value, list | tuple)
    return [item for item in value if not is_blank(item)] if items else _absent_if_blank(value)


def _paths_as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _paths_as_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [str(item) if _is_path(item) else item for item in value] if any(map(_is_path, value)) else value
    return str(value) if _is_path(value) else value


def _is_templated(value: Any) -> bool:
    """Whether Airflow resolves this value, or something in it, before the task runs."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(_is_templated, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(_is_templated, value))
    # The outputs of other tasks, and DAG parameters. This module does without Airflow's class of them.
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def _parse_known(
    kind: type[ParametersT], values: Mapping[str, Any], unknown: Collection[str] = (), meant: Collection[str] = ()
) -> tuple[ParametersT | None, list[str]]:
    """The parameters, if they can be made of the values, and everything that is wrong with what is not ``unknown``."""
    known = {name: value for name, value in values.items() if name not in unknown}
    found = {
        name: f"{name}={shown(known[name])}: given but empty; leave it out, or give a value"
        for name in kind.meant_if_given & known.keys()
        if _is_empty(known[name], meant=name in meant)
    }
    known = {name: value for name, value in known.items() if name not in found}
    try:
        parameters = kind.model_validate(known)
    except ValidationError as error:
        sentences = [*found.values(), *map(_sentence, error.errors())]
        wrong = {str(part["loc"][0]) for part in error.errors()} | found.keys()
        sound = {name: value for name, value in known.items() if name not in wrong}
        rest = kind.model_validate(sound)
        return None, [*sentences, *_joint_problems(rest, {*unknown, *wrong})]
    return parameters, [*found.values(), *_joint_problems(parameters, {*unknown, *found})]


def _joint_problems(parameters: Parameters, unknown: Collection[str]) -> list[str]:
    return [problem.sentence for problem in parameters.problems() if not problem.parameters & set(unknown)]


def _is_empty(value: Any, *, meant: bool) -> bool:
    """Whether nothing is left of a value that was given."""
    if is_blank(value):
        return meant or value is not None
    if isinstance(value, str):
        return value.strip() == "[]"
    if isinstance(value, list | tuple):
        return meant if not value else any(map(is_blank, value))
    return False


def _sentence(part: Any) -> str:
    place = ".".join(map(str, part["loc"]))
    message = part["msg"].replace("Input should", "it should", 1)
    return f"{place}={shown(part['input'])}: {message}"


def shown(value: Any) -> str:
    """A value as a message shows it: in short, and without what must not reach a log."""
    text = redact(repr(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _refusal(sentences: Collection[str], advice: str | None = None) -> InvalidRequestError:
    count = "A parameter is" if len(sentences) == 1 else f"{len(sentences)} parameters are"
    return InvalidRequestError(f"{count} invalid, so nothing was sent: {'; '.join(sentences)}.", advice=advice)
