"""The template of a batch: parameters of one video, rendered with Jinja for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import StrictUndefined, TemplateError

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Environment

    Render = Callable[[Mapping[str, Any]], Any]


class RowTemplate:
    """Compiled once and rendered per row. A column that does not exist is an error, and never an empty string.

    Args:
        template: values with ``{{ row.… }}`` in them, at any depth.
        environment: Airflow's, with the DAG's filters and macros.

    Raises:
        InvalidRequestError: a value is not valid Jinja.
    """

    def __init__(self, template: Mapping[str, Any], environment: Environment) -> None:
        self._environment = environment.overlay(undefined=StrictUndefined)
        self._parts: dict[str, Render] = {}
        for name, value in template.items():
            try:
                self._parts[name] = self._compiled(value)
            except TemplateError as error:
                raise InvalidRequestError(f"template[{name!r}]: {error}. Nothing was submitted or spent.") from error

    def render(self, context: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The parameters for the ``row`` in ``context``, and what is wrong with them."""
        parameters, problems = {}, []
        for name, render in self._parts.items():
            try:
                parameters[name] = render(context)
            except Exception as error:  # noqa: BLE001 - whatever a filter or a macro raises is the row's problem
                problems.append(f"{name}: {error}")
        return parameters, problems

    def _compiled(self, value: Any) -> Render:
        if isinstance(value, str) and "{" in value:
            return self._environment.from_string(value).render
        if isinstance(value, list | tuple):
            items = [self._compiled(item) for item in value]
            return lambda context: [item(context) for item in items]
        if isinstance(value, dict):
            fields = {key: self._compiled(item) for key, item in value.items()}
            return lambda context: {key: item(context) for key, item in fields.items()}
        return lambda _context: value
