"""The table that is shipped, out of the box, and its report: a page without a server that plays every video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from scripts.local_airflow import LocalAirflow

pytestmark = pytest.mark.timeout(300)

DAG_ID = "anyfast_batch_from_table"


def test_the_contact_sheet_of_a_table_plays_its_videos(
    airflow: LocalAirflow, tmp_path: Path, page: Page, picture: Callable[[Page, str], None]
) -> None:
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.rest.trigger(DAG_ID, {"output_folder": str(tmp_path)})
    assert airflow.rest.wait_for_run(DAG_ID, run_id, seconds=180) == "success"

    page.goto((tmp_path / run_id / "report.html").as_uri())
    expect(page.get_by_role("heading", name=run_id)).to_be_visible()
    expect(page.get_by_text("3 of 3 videos are ready")).to_be_visible()
    expect(page.locator("video")).to_have_count(3)
    for video in page.locator("video").all():
        video.evaluate("video => video.play()")
        page.wait_for_function("video => video.currentTime > 0.5", arg=video.element_handle())
        assert video.evaluate("video => [video.error, video.duration]") == [None, 4]
    picture(page, "contact-sheet")
