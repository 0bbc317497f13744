"""A cheap draft, and the final that is made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_anyfast.sandbox.generations.catalog import size_of, tokens_of
from airflow_provider_anyfast.sandbox.settings import ApiKey
from tests.sandbox.client import text, upstream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle

MODEL = "seedance-2.5"
COMPLETION_SECONDS = 8
DAY = 24 * 3600


def draft_task(draft: str) -> dict[str, Any]:
    return {"type": "draft_task", "draft_task": {"id": draft}}


def make_draft(anyfast: Client, clock: FakeClock, **fields: Any) -> str:
    draft = anyfast.generate(text("A kite over a field"), model=MODEL, draft=True, seed=11, ratio="1:1", **fields)
    clock.advance(COMPLETION_SECONDS)
    return draft


def test_a_final_has_the_seed_ratio_length_and_prompt_of_its_draft_which_costs_a_fifth(
    anyfast: Client, clock: FakeClock, sandbox: SandboxHandle
) -> None:
    draft = make_draft(anyfast, clock, resolution=None)
    final = anyfast.generate(draft_task(draft), model=MODEL, resolution="1080p", duration=None)
    clock.advance(COMPLETION_SECONDS)

    shown = [anyfast.task(id_)["data"] for id_ in (draft, final)]
    assert [(raw["draft"], raw["resolution"]) for raw in shown] == [(True, "480p"), (False, "1080p")]
    assert {(raw["seed"], raw["ratio"], raw["duration"]) for raw in shown} == {(11, "1:1", 4)}
    assert {made.prompt for made in sandbox.account().generations} == {"A kite over a field"}
    whole, high = (tokens_of(4 * 24, size_of(resolution, "1:1")) for resolution in ("480p", "1080p"))
    assert [raw["usage"]["total_tokens"] for raw in shown] == [whole // 5, high]


REFUSED: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([draft_task("asyntask_of_nobody")], {}, "there is no such draft"),
    ([draft_task("DRAFT"), text()], {}, "stands alone"),
    ([draft_task("DRAFT")], {"resolution": "480p"}, "a higher resolution"),
    ([draft_task("DRAFT")], {"model": "seedance-2.0"}, "the draft was made by seedance-2.5"),
    ([draft_task("NO DRAFT")], {}, "there is no such draft"),
    ([draft_task("RENDERING")], {}, "has not succeeded"),
    ([draft_task("OLD")], {}, "older than 7 days"),
    ([draft_task("FOREIGN")], {}, "there is no such draft"),
    ([text()], {"draft": True, "resolution": "720p"}, "a draft is made at 480p"),
    ([text()], {"draft": True, "model": "seedance-2.0"}, "`draft`"),
]


@pytest.mark.parametrize(("content", "fields", "part"), REFUSED)
def test_a_final_without_a_draft_that_can_serve_is_refused_and_not_billed(
    anyfast: Client,
    clock: FakeClock,
    configure: Callable[..., None],
    client_with: Callable[[str | None], Client],
    content: list[dict[str, Any]],
    fields: dict[str, Any],
    part: str,
) -> None:
    configure(api_keys=(ApiKey(value="sandbox-key"), ApiKey(value="another-key", account="another")))
    drafts = {"OLD": make_draft(anyfast, clock)}
    clock.advance(7 * DAY + 1)
    drafts["DRAFT"] = make_draft(anyfast, clock)
    drafts["NO DRAFT"] = anyfast.generate(model=MODEL)
    drafts["FOREIGN"] = make_draft(client_with("another-key"), clock)
    drafts["RENDERING"] = anyfast.generate(model=MODEL, draft=True)
    billed = anyfast.billed()

    items = [
        draft_task(drafts.get(item["draft_task"]["id"], "asyntask_of_nobody")) if "draft_task" in item else item
        for item in content
    ]
    response = anyfast.submit(*items, **{"model": MODEL, "resolution": "1080p", **fields})

    assert response.status_code == 400, response.text
    assert part in upstream_error(response)["message"]
    assert anyfast.billed() == billed
