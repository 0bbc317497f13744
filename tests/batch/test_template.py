"""The template of a batch, rendered per row."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import InvalidRequestError

ROW = {"name": "boat", "n": 4, "tags": ["a", "b"]}


def render(template: dict[str, Any], environment: Environment | None = None) -> tuple[dict[str, Any], list[str]]:
    return RowTemplate(template, environment or Environment()).render({"row": ROW})


def test_values_are_rendered_at_any_depth_and_others_stay_what_they_are() -> None:
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


def test_every_parameter_that_cannot_be_rendered_is_told() -> None:
    parameters, problems = render({"prompt": "{{ row.nam }}", "seed": "{{ 1 / 0 }}", "ratio": "{{ row.name }}"})
    assert parameters == {"ratio": "boat"}
    assert [problem.partition(":")[0] for problem in problems] == ["prompt", "seed"]
    assert "'nam'" in problems[0]


@pytest.mark.parametrize("value", ["{{ row.name", ["{% if %}"], {"deep": "{{ row | nofilter }}"}])
def test_a_template_that_is_none_is_refused_with_its_name(value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"template\['prompt'\].*Nothing was submitted"):
        render({"prompt": value})
