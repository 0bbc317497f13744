"""Parses the parameters of operators and sensors; ``values`` parses the single values.

An operator declares its parameters as a ``Parameters`` model. ``check_literals`` checks values without a template while
the DAG is parsed; ``read`` checks everything before anything is billed. Both list every problem in one error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.values import (
    PLACEHOLDER,
    Id,
    absent_if_blank,
    is_blank,
    is_path,
    may_be_none,
    path_as_text,
    without_jinja,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from typing_extensions import Self

_TEMPLATED = "_anyfast_templated"
"""The attribute of an operator that names the parameters that Airflow resolves. If one of these is empty after
rendering, a value was intended, which the value alone does not show."""
_OPTIONAL = "_anyfast_optional"
"""The attribute of an operator that names those of them whose template states that it may render no value."""
_LONGEST_SHOWN = 80
_IN_BRACES = re.compile(r"\{[ \w]*\}")


@dataclass(frozen=True)
class Problem:
    """A problem of a combination of parameters that are each valid.

    Attributes:
        parameters: the parameters involved. The problem is ignored while one of them is not known yet.
        sentence: what is wrong, without a full stop.
    """

    parameters: frozenset[str]
    sentence: str


class Parameters(BaseModel):
    """The parameters of an operator, or some of them, with parsed values.

    Every field has a default, which replaces a value that is not known while the DAG is parsed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, defer_build=True)

    meant_if_given: ClassVar[frozenset[str]] = frozenset()
    """Parameters that may be omitted, but must not be empty if given: a request without its picture, for example, would
    be billed for the wrong video."""
    may_render_none: ClassVar[frozenset[str]] = frozenset()
    """Those of them that are omitted if their template allows it, as ``{{ params.picture or none }}`` does."""

    def problems(self) -> Iterator[Problem]:
        """Yields the problems of combinations of parameters."""
        return iter(())

    @classmethod
    def parse(cls, **values: Any) -> Self:
        """These parameters from plain values.

        Raises:
            InvalidRequestError: lists every problem.
        """
        parameters, sentences = cls.try_parse(**values)
        if parameters is None or sentences:
            raise _refusal(sentences)
        return parameters

    @classmethod
    def try_parse(cls, **values: Any) -> tuple[Self | None, list[str]]:
        """These parameters, if the values can be parsed, and all problems."""
        return _parse_known(cls, values)


class TaskParameters(Parameters):
    """The parameters of an operator with a connection, which defaults to the hook's default."""

    anyfast_conn_id: Id = "anyfast_default"


ParametersT = TypeVar("ParametersT", bound=Parameters)
OtherT = TypeVar("OtherT", bound=Parameters)


def literal_problems(kind: type[Parameters], values: Mapping[str, Any]) -> list[str]:
    """The problems of those ``values`` that contain no template."""
    return _parse_known(kind, values, {name for name, value in values.items() if _is_templated(value)})[1]


def check_literals(operator: Any, *kinds: type[Parameters], more: Iterable[str] = ()) -> None:
    """Checks values without a template at the end of an operator's ``__init__``, so that errors show in the DAG list.

    Paths become text: Airflow 3.1 tries to resolve a ``Path``, and no version of Airflow renders one.

    Args:
        operator: with its parameters as attributes.
        kinds: the parameters to check.
        more: problems that are no concern of ``kinds``; computed only where the values are checked.

    Raises:
        InvalidRequestError: lists every problem.
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
    # Airflow creates the operator of a mapped task instance on the worker, where ``execute`` checks everything, and
    # where an error this early would cost the task its retries.
    if getattr(operator, "_BaseOperator__from_mapped", False):
        return
    sentences = [sentence for kind in kinds for sentence in _parse_known(kind, _values(operator, kind), templated)[1]]
    sentences += more
    if sentences:
        raise _refusal(sentences, advice="Correct the DAG file.")


@overload
def read(operator: Any, kind: type[ParametersT], /) -> ParametersT: ...


@overload
def read(operator: Any, kind: type[ParametersT], other: type[OtherT], /) -> tuple[ParametersT, OtherT]: ...


def read(operator: Any, *kinds: type[Parameters]) -> Parameters | tuple[Parameters, ...]:
    """Parses the parameters of an operator whose templates are rendered, before anything is billed.

    Raises:
        InvalidRequestError: lists every problem of all ``kinds``.
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
        return list(map(path_as_text, value)) if any(map(is_path, value)) else value
    return path_as_text(value)


def placeholder_problems(name: str, path: Any) -> Iterator[str]:
    """The problem of a path whose author wrote something else in single braces than ``{generation_id}``.

    It would become part of the file's name, so that each run replaces the video of the one before.
    """
    text = path_as_text(path)
    found = _IN_BRACES.findall(without_jinja(text)) if isinstance(text, str) else []
    wrong = next((each for each in found if each != PLACEHOLDER), None)
    if wrong is not None:
        yield (
            f"{name} contains {wrong}, but only {PLACEHOLDER} is replaced; Airflow's values stand in two braces, as in "
            "{{ run_id }}, and in an f-string in four"
        )


def _is_templated(value: Any) -> bool:
    """Whether Airflow resolves this value, or a part of it, before the task runs."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(_is_templated, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(_is_templated, value))
    # The outputs of other tasks, and DAG parameters. This module does not import Airflow's class of these.
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def _parse_known(
    kind: type[ParametersT], values: Mapping[str, Any], unknown: Collection[str] = (), meant: Collection[str] = ()
) -> tuple[ParametersT | None, list[str]]:
    """The parameters, if the values can be parsed, and all problems of values that are not ``unknown``."""
    known = {name: value for name, value in values.items() if name not in unknown}
    found = {
        name: f"{name}={shown(known[name])}: given but empty; {_INSTEAD_OF_BLANK[name in kind.may_render_none]}"
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
    """Whether a given value rendered to nothing."""
    if is_blank(value):
        return meant or value is not None
    if isinstance(value, str):
        return value.strip() == "[]"
    if isinstance(value, Sequence | AbstractSet):
        return meant if not len(value) else any(map(is_blank, value))
    return False


_INSTEAD_OF_BLANK = {
    False: "leave it out, or give a value",
    True: "leave it out, give a value, or end its template with 'or none' if it may be missing",
}
"""What to do about a given value that is empty, by whether the template of the parameter may render none."""
_PLAIN = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "give a whole number, such as 5"),
    **dict.fromkeys(("float_parsing", "float_type"), "give a number, such as 0.5"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "give true or false"),
}
"""Sentences in place of pydantic's, for what a cell of a table often contains."""


def _sentence(part: Any) -> str:
    place = ".".join(map(str, part["loc"]))
    message = _PLAIN.get(part["type"]) or part["msg"].replace("Input should", "it should", 1)
    return f"{place}={shown(part['input'])}: {message}"


def shown(value: Any) -> str:
    """A value for a message: shortened, and without secrets."""
    text = redact(repr(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _refusal(sentences: Collection[str], advice: str | None = None) -> InvalidRequestError:
    count = "A parameter is" if len(sentences) == 1 else f"{len(sentences)} parameters are"
    return InvalidRequestError(f"{count} invalid, so nothing was sent: {'; '.join(sentences)}.", advice=advice)
