"""The report of a table: a static page that plays every video, for three rows and for thousands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from airflow_provider_anyfast.batch.manifest import FAILED, SUCCEEDED, ManifestEntry
from airflow_provider_anyfast.batch.report import contact_sheet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from scripts.local_airflow import LocalAirflow

pytestmark = pytest.mark.timeout(900)

DAG_ID = "anyfast_batch_from_table"


def test_the_contact_sheet_of_a_table_plays_its_videos(
    airflow: LocalAirflow, tmp_path: Path, page: Page, picture: Callable[[Page, str], None]
) -> None:
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.rest.trigger(DAG_ID, {"output_folder": str(tmp_path)})
    airflow.rest.wait_for_success(DAG_ID, run_id, seconds=300)

    page.goto((tmp_path / run_id / "report.html").as_uri())
    expect(page.get_by_role("heading", name=DAG_ID)).to_be_visible()
    expect(page.get_by_text(f"Run {run_id}")).to_be_visible()
    expect(page.get_by_text("3 of 3 videos ready")).to_be_visible()
    cards = page.locator("#rows > li")
    expect(cards).to_have_count(3)
    picture(page, "contact-sheet")
    for card in cards.all():
        card.scroll_into_view_if_needed()  # a card only has its player while it is visible
        video = card.locator("video")
        video.evaluate("video => video.play()")
        page.wait_for_function("video => video.currentTime > 0.5", arg=video.element_handle())
        assert video.evaluate("video => [video.error, video.duration]") == [None, 4]


def test_a_report_of_two_thousand_rows_is_searched_and_filtered_also_on_a_phone_in_the_dark(
    chromium: Browser, tmp_path: Path, picture: Callable[[Page, str], None]
) -> None:
    rows = [
        ManifestEntry(
            *(number, "", "", 1, {"sku": f"P-{number}"}, SUCCEEDED if number % 100 else FAILED),
            error=None if number % 100 else "<b>Refused</b>",
            result={"generation_id": f"g{number}", "path": f"{tmp_path}/{number}.mp4", "prompt": f"Product {number}"},
        )
        for number in range(1, 2001)
    ]
    report = tmp_path / "report.html"
    report.write_text(contact_sheet(rows, title="Products", folder=str(tmp_path)))
    context = chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark", is_mobile=True)
    page = context.new_page()
    page.goto(report.as_uri())
    expect(page.get_by_text("1,980 of 2,000 videos ready")).to_be_visible()
    assert page.locator("#rows > li:visible").count() <= 120, "the rest is drawn when it is scrolled to"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    page.get_by_label("Search rows and prompts").fill("product 1234")
    expect(page.get_by_role("status")).to_have_text("Found 1 of 2000")
    expect(page.get_by_role("heading", name="P-1234")).to_be_visible()
    page.get_by_label("Search rows and prompts").fill("")
    page.get_by_label("Status").select_option(label="Failed (20)")
    expect(page.locator("#rows > li:visible")).to_have_count(20)
    expect(page.get_by_text("<b>Refused</b>").first).to_be_visible()
    page.get_by_label("Search rows and prompts").press("Escape")
    page.keyboard.press("j")
    expect(page.locator("#rows > li:focus")).to_contain_text("P-100")
    picture(page, "contact-sheet-phone")
    context.close()
