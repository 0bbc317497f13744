"""Reads the parameters of operators and sensors, each value as ``values`` reads it.

An operator names its parameters as a ``Parameters`` model. ``check_literals`` checks, while the DAG is parsed, what
holds no template; ``read`` checks everything before anything is billed. Both list every problem in one error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.values import Id, absent_if_blank, is_blank, is_path, may_be_none

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from typing_extensions import Self

_TEMPLATED = "_anyfast_templated"
"""The attribute of an operator that names the parameters that Airflow resolves. One of these that is empty was meant to
be something, which its value alone does not tell."""
_OPTIONAL = "_anyfast_optional"
"""The attribute that holds which of these say themselves that they may come to nothing."""
_LONGEST_SHOWN = 80


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
    return [item for item in value if not is_blank(item)] if items else absent_if_blank(value)


def _paths_as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _paths_as_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [str(item) if is_path(item) else item for item in value] if any(map(is_path, value)) else value
    return str(value) if is_path(value) else value


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
