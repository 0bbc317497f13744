"""The template of a batch, rendered per row."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_anyfast.batch.table import Row
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import InvalidRequestError

ROW = Row({"name": "boat", "n": 4, "tags": ["a", "b"]})


def render(template: dict[str, Any], environment: Environment | None = None) -> tuple[dict[str, Any], list[str]]:
    return RowTemplate(template, environment or Environment()).render({"row": ROW})


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
    with pytest.raises(InvalidRequestError, match=r"template\['prompt'\]: .*[^.]\.\n"):
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
