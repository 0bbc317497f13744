"""The template of a batch: parameters of one video, rendered with Jinja for each row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError, Undefined, UndefinedError

from airflow_provider_anyfast.batch.table import Row
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.parameters import placeholder_problems
from airflow_provider_anyfast.seedance.request import REFERENCES
from airflow_provider_anyfast.values import PLACEHOLDER, is_blank, may_be_none, path_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jinja2 import Environment

    Render = Callable[[Mapping[str, Any]], Any]

OPTIONAL = frozenset(
    {"resolution", "ratio", "duration", "seed", "generate_audio", "watermark", "return_last_frame", "web_search"}
)
"""Parameters that are left out if they consist of one cell without a value. For other parameters, that is an error."""
_ONE_EXPRESSION = re.compile(r"\s*\{\{[^{}]*\}\}\s*")


class MissingValueError(UndefinedError):
    """A cell without a value was rendered."""


class MissingValue(StrictUndefined):
    """A cell without a value: false and equal to an empty text, but an error if rendered.

    ``{{ row.color or 'red' }}`` and ``{{ row.color | default('red') }}`` give a default.
    """

    def __bool__(self) -> bool:  # type: ignore[override]  # other undefined values refuse it
        return False

    def __eq__(self, other: object) -> bool:  # type: ignore[override]  # other undefined values refuse it
        return other in ("", None) or isinstance(other, Undefined)

    def __ne__(self, other: object) -> bool:  # type: ignore[override]  # other undefined values refuse it
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # no undefined value of Jinja can be hashed


class RowTemplate:
    """A template that is compiled once and rendered per row. A missing column or a cell without a value is an error.

    Args:
        template: values that contain ``{{ row.… }}`` at any depth.
        environment: Airflow's Jinja environment, with the DAG's filters and macros.

    Raises:
        InvalidRequestError: names every value that is not valid Jinja.
    """

    def __init__(self, template: Mapping[str, Any], environment: Environment) -> None:
        self._environment = _with_columns_first(environment.overlay(undefined=StrictUndefined))
        self._template = template
        self._parts: dict[str, Render] = {}
        invalid = []
        for name, value in template.items():
            try:
                self._parts[name] = self._compiled(value, is_reference=name in REFERENCES)
            except TemplateError as error:
                invalid.append(_invalid(name, error))
        if invalid:
            raise InvalidRequestError(f"{'; '.join(invalid)}.")

    def render(self, context: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The parameters for the ``Row`` in ``context["row"]``, and their problems."""
        parameters, problems = {}, []
        for name, render in self._parts.items():
            try:
                parameters[name] = render(context)
            except MissingValueError as error:
                if self._may_be_left_out(name):
                    parameters[name] = None
                else:
                    problems.append(f"{name}: {error}")
            except Exception as error:  # noqa: BLE001 - a filter or a macro may raise anything
                problems.append(f"{name}: {error}")
        return parameters, problems

    def _may_be_left_out(self, name: str) -> bool:
        value = self._template[name]
        return name in OPTIONAL and isinstance(value, str) and _ONE_EXPRESSION.fullmatch(value) is not None

    def _compiled(self, value: Any, *, is_reference: bool = False) -> Render:
        if isinstance(value, str) and "{" in value:
            render = self._environment.from_string(value).render
            if is_reference and may_be_none(value):
                return lambda context: None if is_blank(text := render(context)) else text
            return render
        if isinstance(value, list | tuple):
            items = [self._compiled(item, is_reference=is_reference) for item in value]
            if is_reference:
                return lambda context: [found for item in items if (found := item(context)) is not None]
            return lambda context: [item(context) for item in items]
        if isinstance(value, dict):
            fields = {key: self._compiled(item) for key, item in value.items()}
            return lambda context: {key: item(context) for key, item in fields.items()}
        return lambda _context: value


def template_problems(operator: Any) -> Iterator[str]:
    """What is wrong with an operator's ``template`` in every row, while the DAG is parsed."""
    if not isinstance(operator.template, dict):
        return
    output_path = operator.template.get("output_path")
    yield from _jinja_problems(operator)
    yield from placeholder_problems("template['output_path']", output_path)
    if getattr(operator, "if_exists", None) == "skip" and not identifies_row(output_path):
        yield NEEDS_OWN_PATH


NEEDS_OWN_PATH = "if_exists='skip' needs an output_path that identifies the row, without {generation_id}"


def identifies_row(output_path: Any) -> bool:
    """Whether a later run finds a row's video at ``output_path``, which may still contain templates."""
    path = path_as_text(output_path)
    return isinstance(path, str) and not is_blank(path) and PLACEHOLDER not in path


def _jinja_problems(operator: Any) -> Iterator[str]:
    """The values of an operator's ``template`` that are not valid Jinja, while the DAG is parsed.

    Only the syntax counts, since a DAG may still get filters after its tasks. It depends on the DAG's extensions of
    Jinja, so an operator that belongs to no DAG yet is checked when the task runs.
    """
    if operator.get_dag() is None:
        return
    environment = operator.get_template_env()
    for name, value in operator.template.items():
        try:
            for text in _texts_in(value):
                environment.parse(text)
        except TemplateError as error:
            yield _invalid(name, error)


def _texts_in(value: Any) -> Iterator[str]:
    """The parts of ``value`` that are rendered."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)


def _invalid(name: str, error: TemplateError) -> str:
    return f"template[{name!r}] is not valid Jinja: {str(error).rstrip('.')}"


def _with_columns_first(environment: Environment) -> Environment:
    """Gives a template access only to a row's columns: Jinja would find the dict method ``copy`` before a column."""
    environment_getattr, environment_getitem = environment.getattr, environment.getitem

    def column(row: Row, name: Any) -> Any:
        if name not in row:
            there_are = ", ".join(map(str, row))
            return StrictUndefined(hint=f"there is no column {name!r}; the columns are {there_are}")
        value = row[name]
        if is_blank(value):
            return MissingValue(hint=f"column {name!r} has no value", exc=MissingValueError)
        # Nested JSON objects are accessed in the same way.
        return Row(value) if isinstance(value, dict) else value

    def getattr_(obj: Any, attribute: str) -> Any:
        return column(obj, attribute) if isinstance(obj, Row) else environment_getattr(obj, attribute)

    def getitem(obj: Any, argument: Any) -> Any:
        return column(obj, argument) if isinstance(obj, Row) else environment_getitem(obj, argument)

    environment.getattr = getattr_  # type: ignore[method-assign]  # the overlay is this template's own
    environment.getitem = getitem  # type: ignore[method-assign]  # the overlay is this template's own
    return environment
