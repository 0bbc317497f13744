"""What a new user sees: the examples with their docs, a run with its video, and its cost."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = pytest.mark.timeout(900)

EXAMPLES = sorted((Path(__file__).parents[2] / "example_dags").glob("*.py"))
DAG_ID = "anyfast_quickstart"
PROMPT = "The lamp of the browser test bows to its audience."


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_dag_renders_with_its_docs(
    example: Path, airflow: LocalAirflow, page: Page, picture: Callable[[Page, str], None]
) -> None:
    title = (ast.get_docstring(ast.parse(example.read_text())) or "").partition("\n")[0]
    airflow.wait_for_dag(example.stem)
    page.goto(f"{airflow.url}/dags/{example.stem}")
    page.get_by_role("button", name="Dag Docs").click()

    docs = page.get_by_role("dialog")
    expect(docs.get_by_role("heading", name=title.lstrip("# "), exact=True)).to_be_visible()
    expect(docs.get_by_text("anyfast_default")).to_be_visible()
    picture(page, f"docs-{example.stem}")


def test_a_run_from_the_form_leads_to_a_playing_video_and_to_its_bill(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path, page: Page, picture: Callable[[Page, str], None]
) -> None:
    airflow.wait_for_dag(DAG_ID)
    page.goto(f"{airflow.url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger Dag").click()
    form = page.get_by_role("dialog")
    form.locator("[name=element_prompt]").fill(PROMPT)
    form.locator("[name=element_output_folder]").fill(str(tmp_path))
    picture(page, "trigger-form")
    with page.expect_response("**/dagRuns") as response:
        form.get_by_role("button", name="Trigger", exact=True).click()
    run_id = response.value.json()["dag_run_id"]
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)

    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}")
    for task_id in ("group", "picture", "submit", "wait", "download"):
        expect(page.get_by_role("link", name=task_id, exact=True).first).to_be_visible()
    picture(page, "run")
    # Airflow stores a link a moment after the state, and shows it in the details.
    task = TaskRef(DAG_ID, run_id, "download")
    wait_until(lambda: airflow.rest.links(task)["Open video"], "the link to the video", seconds=60)
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/download/details")
    link = page.get_by_role("link", name="Open video")
    expect(link).to_be_visible(timeout=60_000)  # the page requests a task's links last
    picture(page, "task-instance")
    link.click()
    _expect_to_play(page.locator("video.player"))
    picture(page, "video")

    page.goto(anyfast.url)
    (generation,) = anyfast.generations(PROMPT)
    entry = page.get_by_role("listitem").filter(has_text=generation["id"])
    expect(entry).to_contain_text(PROMPT)
    expect(entry).to_contain_text(f"{generation['tokens']:,} tokens billed")
    billed = anyfast.account()["billed"]["generations"]
    expect(page.get_by_role("row", name=f"Generations {billed}, of which 0 refunded")).to_be_visible()
    _expect_to_play(entry.locator("video"))
    picture(page, "account")


def _expect_to_play(video: Locator) -> None:
    """The video can be decoded and plays."""
    video.evaluate("video => video.play()")
    video.page.wait_for_function("video => video.currentTime > 0.5", arg=video.element_handle())
    assert video.evaluate("video => [video.error, video.duration]") == [None, 4]
    assert video.evaluate("video => video.videoWidth") > 0
