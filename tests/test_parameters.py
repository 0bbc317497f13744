from __future__ import annotations

from collections import UserList
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.parameters import Parameters, Problem, check_literals, placeholder_problems, read
from airflow_provider_anyfast.values import (
    Id,
    Ids,
    OptionalSeconds,
    OptionalText,
    OptionalWhole,
    Seconds,
    Share,
    Texts,
    Whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Everything(Parameters):
    timeout: Seconds = 60.0
    poll_interval: OptionalSeconds = None
    count: Whole = 1
    most: OptionalWhole = None
    share: Share = 0.0
    policy: Literal["fail", "resubmit"] = "fail"
    overwrite: bool = True
    generation_id: Id = "g"
    group_ids: Ids = ()
    files: Texts = ()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("timeout", 600, 600.0),
        ("timeout", "600", 600.0),
        ("timeout", " 0.5 ", 0.5),
        ("timeout", timedelta(minutes=10), 600.0),
        ("timeout", str(timedelta(days=1, minutes=10)), 87000.0),
        ("timeout", "PT10M", 600.0),
        ("poll_interval", None, None),
        ("poll_interval", "", None),
        ("poll_interval", "None", None),
        ("poll_interval", "15", 15.0),
        ("count", "16", 16),
        ("most", "None", None),
        ("most", 3.0, 3),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("policy", "resubmit", "resubmit"),
        ("overwrite", "False", False),
        ("overwrite", "true", True),
        ("generation_id", " asyntask_1 ", "asyntask_1"),
        ("group_ids", "group-1", ("group-1",)),
        ("group_ids", ["group-1", "group-2"], ("group-1", "group-2")),
        ("group_ids", "['group-1', 'group-2']", ("group-1", "group-2")),
        ("group_ids", '["group-1"]', ("group-1",)),
        ("group_ids", None, ()),
        ("files", (each for each in ["a", "b"]), ("a", "b")),
        ("files", Path("a"), ("a",)),
        ("files", (each for each in [Path("a"), "b"]), ("a", "b")),
        ("most", float("nan"), None),
        ("most", "nan", None),
    ],
)
def test_a_value_is_read_as_it_is_or_as_a_template_renders_it(name: str, given: Any, expected: Any) -> None:
    assert getattr(Everything.parse(**{name: given}), name) == expected


WRONG: dict[str, tuple[Any, ...]] = {
    "timeout": (
        None,
        "",
        "None",
        "10 apples",
        0,
        -1,
        "-1",
        True,
        [],
        float("nan"),
        float("inf"),
        "inf",
        1e14,
        timedelta(0),
        timedelta(days=9999),
        {},
    ),
    "poll_interval": (-1, "0", 1e14, "often", False, timedelta(days=-1)),
    "count": (None, "", "None", 0, -3, 2.5, "2.5", True, "many", timedelta(1), [1]),
    "most": (0, "x", True),
    "share": (None, "", "None", -0.1, 1.1, "all", True, float("nan"), timedelta(1)),
    "policy": (None, "", "None", "maybe", 1, ["fail"]),
    "overwrite": (None, "", "None", "perhaps", 2, timedelta(1)),
    "generation_id": (None, "", "None", " ", 7, ["a"], "a b", "a\nb", "a\x00", {}),
    "group_ids": ([None], ["a", ""], "[not a list", {"a": 1}, 7, ["a", 3]),
    "files": ({"a": 1}, 7, b"a", [["a"]]),
}
"""Invalid values, by the name of the parameter."""


@pytest.mark.parametrize(("name", "given"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_invalid_value_is_refused_by_name(name: str, given: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name}[.0-9]*="):
        Everything.parse(**{name: given})


def test_one_error_lists_every_problem() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Everything.parse(timeout="soon", share=2, policy="maybe", generation_id=None)
    assert "4 parameters" in caught.value.what
    assert all(name in caught.value.what for name in ("timeout='soon'", "share=2", "policy='maybe'", "generation_id="))


class Pair(Parameters):
    meant_if_given = frozenset({"url", "files"})

    url: OptionalText = None
    file: OptionalText = None
    files: Texts = ()
    seed: OptionalWhole = None

    def problems(self) -> Iterator[Problem]:
        if bool(self.url) == bool(self.file):
            yield Problem(frozenset({"url", "file"}), "give either url or file")


class Options(Parameters):
    timeout: Seconds = 60.0


class PairOperator(BaseOperator):
    template_fields = ("url", "file", "files", "seed")

    def __init__(
        self,
        *,
        url: Any = None,
        file: Any = None,
        files: Any = (),
        seed: Any = None,
        timeout: Any = 60.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.file = file
        self.files = files
        self.seed = seed
        self.timeout = timeout
        check_literals(self, Options, Pair)


def test_problems_of_several_parameters_are_listed_with_those_of_single_ones() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        PairOperator(task_id="pair", seed="abc", timeout=-1)
    assert all(word in caught.value.what for word in ("seed='abc'", "timeout=-1", "give either url or file"))
    assert caught.value.advice == "Correct the DAG file."


def test_values_from_a_template_or_another_task_are_not_checked_while_the_dag_is_parsed() -> None:
    with DAG("any", schedule=None):
        first = PairOperator(task_id="first", url="https://x.example/a.png")
        files = ["{% if 1 %}a{% endif %}"]
        seed: Any = first.output
        PairOperator(task_id="pair", url="{{ params.url }}", seed=seed["seed"], files=files)


def test_a_problem_is_ignored_until_its_parameters_are_known() -> None:
    PairOperator(task_id="pair", url="{{ params.url }}", file="a.png")


def test_a_path_is_rendered_like_the_text_that_it_stands_for() -> None:
    given = PairOperator(task_id="pair", file=Path("in") / "{{ ds }}.png", files=[Path("a.png"), "b.png"])
    assert (given.file, given.files) == ("in/{{ ds }}.png", ["a.png", "b.png"])


def test_a_template_in_a_field_that_airflow_does_not_render_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"timeout='\{\{ 5 \}\}'"):
        PairOperator(task_id="pair", url="u", timeout="{{ 5 }}")


class MappedOutput(UserList[str]):
    """Like the output of a mapped task: a sequence, but no list."""


@pytest.mark.parametrize("rendered", [[], (), MappedOutput(), MappedOutput(["a", ""]), set()])
def test_a_given_sequence_without_values_is_refused(rendered: Any) -> None:
    operator = PairOperator(task_id="pair", url="u", files="{{ params.files }}")
    operator.files = rendered
    with pytest.raises(InvalidRequestError, match=r"files=.*given but empty"):
        read(operator, Pair)


@pytest.mark.parametrize("rendered", [None, "", "None", "nan", float("nan")])
def test_a_given_value_that_renders_to_nothing_is_refused(rendered: Any) -> None:
    operator = PairOperator(task_id="pair", url="{{ params.url }}", file="a.png")
    operator.url = rendered
    with pytest.raises(InvalidRequestError, match=r"url=.*given but empty; leave it out, or give a value\."):
        read(operator, Pair)


@pytest.mark.parametrize("rendered", [None, [], "[]", "", ["a", None]])
def test_a_given_list_that_renders_to_nothing_is_refused(rendered: Any) -> None:
    operator = PairOperator(task_id="pair", url="u", files="{{ params.files }}")
    operator.files = rendered
    with pytest.raises(InvalidRequestError, match=r"files=.*given but empty"):
        read(operator, Pair)


def test_an_omitted_value_may_be_nothing() -> None:
    options, pair = read(PairOperator(task_id="pair", url="u"), Options, Pair)
    assert (options.timeout, pair.url, pair.file, pair.files) == (60.0, "u", None, ())


def test_a_mapped_task_is_checked_when_it_runs() -> None:
    mapped = PairOperator.partial(task_id="pair", timeout=-1).expand(url=["u"])
    operator = mapped.unmap({"url": "u", "task_id": "pair", "timeout": -1})
    with pytest.raises(InvalidRequestError, match="timeout=-1"):
        read(operator, Options, Pair)


def test_a_message_shortens_long_values_and_shows_no_credentials() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Everything.parse(policy="https://user:password@x.example/?token=secret" + "y" * 500)
    assert "password" not in caught.value.what
    assert len(caught.value.what) < 300


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("count", "5,0", "count='5,0': give a whole number, such as 5"),
        ("count", 5.5, "count=5.5: give a whole number, such as 5"),
        ("share", "0,5", "share='0,5': give a number, such as 0.5"),
        ("overwrite", "ja", "overwrite='ja': give true or false"),
    ],
)
def test_an_error_about_a_cell_says_what_to_write_instead(name: str, given: Any, sentence: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        Everything.parse(**{name: given})
    assert sentence in raised.value.what


@pytest.mark.parametrize(
    "path", ["v/{generation}.mp4", "v/{ generation_id }.mp4", Path("v/{}.mp4"), "{run_id}/{{ ds }}"]
)
def test_what_looks_like_the_placeholder_for_the_generations_id_but_is_none_is_found(path: Any) -> None:
    (problem,) = placeholder_problems("output_path", path)
    assert "but only {generation_id} is replaced" in problem


@pytest.mark.parametrize(
    "path",
    [
        None,
        "v/{generation_id}.mp4",
        "{{ run_id }}/{% if x %}a{% endif %}{generation_id}",
        "{{ {'a': 1}['a'] }}",
        "a{b.mp4",
    ],
)
def test_jinja_and_the_placeholder_itself_are_no_problem(path: Any) -> None:
    assert list(placeholder_problems("output_path", path)) == []
