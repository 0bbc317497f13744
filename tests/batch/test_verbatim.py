"""Text from a table is unchanged when Airflow renders it once more."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.batch.rows import verbatim

ENVIRONMENT = BaseOperator(task_id="any").get_template_env()
BRACES = st.text(st.one_of(st.sampled_from("{}%#'\"\\\n "), st.characters(exclude_categories=["Cs"])))


def rendered(value: Any) -> Any:
    if isinstance(value, str):
        return ENVIRONMENT.from_string(value).render()
    if isinstance(value, list):
        return [rendered(item) for item in value]
    return {name: rendered(item) for name, item in value.items()} if isinstance(value, dict) else value


@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), BRACES), lambda part: st.lists(part) | st.dictionaries(BRACES, part)
    )
)
def test_any_value_renders_to_itself(value: Any) -> None:
    assert rendered(verbatim(value)) == value


def test_text_without_braces_stays_readable() -> None:
    assert verbatim({"prompt": "A 'sea'"}) == {"prompt": "A 'sea'"}
