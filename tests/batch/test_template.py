"""The template of a batch, rendered per row."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_anyfast.batch.table import Row
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.rows import CheckRowsOperator

ROW = Row({"name": "boat", "n": 4, "tags": ["a", "b"]})


def render(template: dict[str, Any], environment: Environment | None = None) -> tuple[dict[str, Any], list[str]]:
    return RowTemplate(template, environment or Environment()).render({"row": ROW})


OPERATORS: list[type[Any]] = [GenerateVideoBatchOperator, CheckRowsOperator]


def in_dag(operator: type[Any], template: dict[str, Any], **options: Any) -> Any:
    """The operator in a DAG with ``options``."""
    paths = {"manifest_path": "/m.jsonl"} if operator is GenerateVideoBatchOperator else {}
    with DAG("templates", schedule=None, **options):
        return operator(task_id="task", rows=[dict(ROW)], template={"prompt": "A boat", **template}, **paths)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_value_that_is_not_valid_jinja_is_named_with_the_other_problems_when_the_dag_is_parsed(
    operator: type[Any],
) -> None:
    template = {
        "prompt": "A {{ row.name ",
        "output_path": "/v/{% if row.sku %}{sku}.mp4",
        "reference_images": ["{{ row.a }}", "{{ row b }}"],
        "extra_body": {"deep": "{# note"},
        "duration": 99,
    }
    with pytest.raises(InvalidRequestError, match="Correct the DAG file") as caught:
        in_dag(operator, template)
    for phrase in (
        "6 parameters are invalid",
        "template['prompt'] is not valid Jinja: unexpected end of template",
        "template['output_path'] is not valid Jinja: Unexpected end of template",
        "template['reference_images'] is not valid Jinja: expected token",
        "template['output_path'] contains {sku}, but only {generation_id} is replaced",
        "template['extra_body'] is not valid Jinja: Missing end of comment tag",
        "duration=99 is outside",
    ):
        assert phrase in caught.value.what


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ({"user_defined_filters": {"shout": str.upper}}, "{{ row.name | shout }}"),
        ({}, "{{ row.name | a_filter_that_the_dag_gets_later }}"),
        ({"jinja_environment_kwargs": {"extensions": ["jinja2.ext.do"]}}, "{% do row.tags %}"),
        ({"jinja_environment_kwargs": {"variable_start_string": "[["}}, "{{ row.name"),
        ({"template_searchpath": "/nowhere"}, "{% include 'prompt.jinja' %}"),
        ({"render_template_as_native_obj": True}, "{{ row.tags }} {generation_id}"),
    ],
)
def test_a_template_that_the_environment_of_its_dag_can_render_is_not_refused(
    operator: type[Any], options: dict[str, Any], prompt: str
) -> None:
    in_dag(operator, {"prompt": prompt}, **options)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_template_is_not_judged_before_its_dag_is_known(operator: type[Any]) -> None:
    paths = {"manifest_path": "/m.jsonl"} if operator is GenerateVideoBatchOperator else {}
    operator(task_id="task", rows=[], template={"prompt": "{% do row.tags %}"}, **paths)


def test_every_value_that_is_not_valid_jinja_is_named_when_the_task_runs() -> None:
    with pytest.raises(InvalidRequestError, match=r"template\['a'\] .*No filter named 'no'; template\['b'\] "):
        RowTemplate({"a": "{{ row.name | no }}", "b": "{{ row."}, Environment())


def test_templates_are_rendered_at_any_depth_and_other_values_are_unchanged() -> None:
    template = {
        "prompt": "A {{ row.name }}",
        "duration": 5,
        "seed": None,
        "plain": "no template",
        "references": ["{{ row.tags[0] }}", ("{{ row.tags[1] }}", 1.5)],
        "extra_body": {"deep": {"er": "{% if row.n > 3 %}yes{% endif %}"}, "flag": True},
    }
    assert render(template) == (
        {
            **template,
            "prompt": "A boat",
            "references": ["a", ["b", 1.5]],
            "extra_body": {"deep": {"er": "yes"}, "flag": True},
        },
        [],
    )


def test_native_values_stay_native() -> None:
    assert render({"duration": "{{ row.n + 1 }}"}, NativeEnvironment()) == ({"duration": 5}, [])


def test_every_parameter_that_cannot_be_rendered_is_reported() -> None:
    parameters, problems = render({"prompt": "{{ row.nam }}", "seed": "{{ 1 / 0 }}", "ratio": "{{ row.name }}"})
    assert parameters == {"ratio": "boat"}
    assert [problem.partition(":")[0] for problem in problems] == ["prompt", "seed"]
    assert "'nam'" in problems[0]


@pytest.mark.parametrize("value", ["{{ row.name", ["{% if %}"], {"deep": "{{ row | nofilter }}"}])
def test_an_invalid_template_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"template\['prompt'\] is not valid Jinja: .*[^.]\.\n"):
        render({"prompt": value})


def test_a_column_takes_precedence_over_a_method_of_dict() -> None:
    row = Row({"copy": "a", "items": "b", "keys": "c", "nested": {"values": "d"}})
    template = {"prompt": "{{ row.copy }}{{ row['items'] }}{{ row.keys }}{{ row.nested.values }}"}
    assert RowTemplate(template, Environment()).render({"row": row}) == ({"prompt": "abcd"}, [])
    _, problems = RowTemplate({"prompt": "{{ row.pop }}"}, Environment()).render({"row": row})
    assert problems == ["prompt: there is no column 'pop'; the columns are copy, items, keys, nested"]


@pytest.mark.parametrize("value", ["", " ", None, "NaN", float("nan"), "null"])
def test_a_cell_without_a_value_is_an_error_in_a_prompt_a_path_and_a_reference(value: Any) -> None:
    template = {
        "prompt": "A film about {{ row.name }}",
        "output_path": "out/{{ row.name }}.mp4",
        "first_frame": "{{ row.name }}",
        "reference_images": ["{{ row.name }}"],
        "resolution": "{{ row.name }}p",
        "model": "{{ row.name }}",
    }
    parameters, problems = RowTemplate(template, Environment()).render({"row": Row({"name": value})})
    assert parameters == {}
    assert problems == [f"{name}: column 'name' has no value" for name in template]


def test_an_option_that_is_one_cell_without_a_value_is_left_out() -> None:
    template = {"prompt": "x", "seed": "{{ row.seed }}", "ratio": " {{ row['ratio'] }} "}
    parameters, problems = RowTemplate(template, Environment()).render({"row": Row({"seed": "", "ratio": None})})
    assert (parameters, problems) == ({"prompt": "x", "seed": None, "ratio": None}, [])


@pytest.mark.parametrize(
    "text",
    [
        "{{ row.color or 'red' }}",
        "{{ row.color | default('red') }}",
        "{% if row.color %}{{ row.color }}{% else %}red{% endif %}",
        "{% if row.color == '' %}red{% endif %}",
        "{{ 'red' if row.color is undefined else row.color }}",
    ],
)
@pytest.mark.parametrize("environment", [Environment, NativeEnvironment])
def test_a_template_may_give_a_default(text: str, environment: type[Environment]) -> None:
    assert RowTemplate({"prompt": text}, environment()).render({"row": Row({"color": ""})}) == ({"prompt": "red"}, [])


def test_the_jinja_environment_of_the_dag_is_unchanged() -> None:
    environment = Environment()
    RowTemplate({"prompt": "{{ row.copy }}"}, environment)
    assert environment.from_string("{{ x.copy is callable }}").render(x={}) == "True"
