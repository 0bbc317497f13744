"""Drafts are approved on the Videos page or in Airflow's own form, and only approved ones become finals."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from scripts.airflow_rest import TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import FrameLocator, Page

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.support.s3 import S3

pytestmark = pytest.mark.timeout(900)

DAG_ID = "anyfast_draft_review_final"
DRAFTS, FINALS = "480p", "1080p"


class Review:
    """A run of the example, from its drafts to its finals."""

    def __init__(self, airflow: LocalAirflow, anyfast: LocalSandbox, table: Path, folder: str, *products: str) -> None:
        """Start a run, whose videos go to ``folder``."""
        self._airflow, self._anyfast, self._products = airflow, anyfast, products
        lines = [f"{product},a {product},slowly turns,16:9\n" for product in products]
        table.write_text("".join(["id,product,scene,ratio\n", *lines]))
        airflow.wait_for_dag(DAG_ID)
        self.run_id = airflow.rest.trigger(DAG_ID, {"rows": str(table), "output_folder": folder})

    def address(self, place: str) -> str:
        """The URL of a page about the run, once it waits for a person."""
        review = TaskRef(DAG_ID, self.run_id, "review")
        self._airflow.rest.wait_for_task(review, "awaiting_input", "deferred", seconds=300)
        return f"{self._airflow.url}/dags/{DAG_ID}/runs/{quote(self.run_id, safe='')}/{place}"

    def expect_success(self) -> None:
        """The run succeeds after its review."""
        self._airflow.rest.wait_for_success(DAG_ID, self.run_id, seconds=300)

    def billed(self, resolution: str) -> list[str]:
        """The prompts of its billed videos of one resolution."""
        everything = self._anyfast.account()["generations"]
        return [
            found["prompt"].strip()
            for found in everything
            if found["resolution"] == resolution
            and any(f": a {product} " in found["prompt"] for product in self._products)
        ]


def videos_of(page: Page) -> FrameLocator:
    """The tab "Videos", a page inside Airflow's page."""
    return page.frame_locator("iframe[title=Videos]")


def test_four_of_twelve_drafts_in_s3_are_approved_with_a_note_and_become_finals(
    airflow: LocalAirflow,
    anyfast: LocalSandbox,
    s3: S3,
    tmp_path: Path,
    page: Page,
    picture: Callable[[Page, str], None],
) -> None:
    markup = "<img src=x onerror=alert(1)>"
    products = [
        "clock",
        "teapot",
        "kite",
        "lamp",
        "violin",
        "kettle",
        "globe",
        "vase",
        "bell",
        "anchor",
        "drum",
        markup,
    ]
    review = Review(airflow, anyfast, tmp_path / "products.csv", s3.path("reviewed"), *products)
    page.goto(review.address("plugin/anyfast_videos"))
    videos = videos_of(page)
    cards = videos.locator("#videos > li")
    expect(cards).to_have_count(12, timeout=60_000)  # Airflow's own page loads first
    expect(videos.get_by_role("heading", name=markup)).to_be_visible()
    expect(videos.locator("p.prompt", has_text=markup)).to_be_visible()
    expect(videos.locator("img[src=x]")).to_have_count(0)

    teapot = cards.filter(has_text="a teapot slowly turns")
    teapot.get_by_role("button", name="Play 2").click()
    player = teapot.locator("video.player")
    expect(player).to_have_js_property("readyState", 4, timeout=60_000)
    player.evaluate("video => { video.pause(); video.currentTime = 3 }")
    expect(player).to_have_js_property("seeking", value=False)
    assert player.evaluate("video => [video.error, video.duration, Math.round(video.currentTime)]") == [None, 4, 3]
    for number, product in enumerate(products[1:5], start=2):
        card = cards.filter(has_text=f"a {product} slowly turns")
        card.get_by_label("Approve").check()
        card.get_by_label(f"Note for {number}").fill(f"Light {number}.")
    picture(page, "review")
    videos.get_by_role("button", name="Approve 4 videos").click()
    expect(videos.get_by_text("Your answer is stored.")).to_be_visible()

    review.expect_success()
    assert len(review.billed(DRAFTS)) == 12
    assert sorted(review.billed(FINALS)) == sorted(
        f"A short film: a {product} slowly turns. Light {number}."
        for number, product in enumerate(products[1:5], start=2)
    )
    stored = s3.keys()
    assert len([key for key in stored if "/finals/" in key and key.endswith(".mp4")]) == 4


def test_airflows_own_form_also_works_and_a_rejected_draft_costs_no_final(
    airflow: LocalAirflow, anyfast: LocalSandbox, tmp_path: Path, page: Page, picture: Callable[[Page, str], None]
) -> None:
    by_form = Review(airflow, anyfast, tmp_path / "form.csv", str(tmp_path / "form"), "mirror", "candle")
    rejected = Review(airflow, anyfast, tmp_path / "rejected.csv", str(tmp_path / "rejected"), "spoon", "fork")
    page.goto(by_form.address("tasks/review/required_actions"))
    page.locator("#element_videos").click()
    page.get_by_text("2 (candle): A short film: a candle slowly turns.", exact=True).last.click()
    picture(page, "review-form")
    page.get_by_role("button", name="Approve the selected videos").click()

    page.goto(rejected.address("plugin/anyfast_videos"))
    videos_of(page).get_by_role("button", name="Reject all").click()
    videos_of(page).get_by_role("button", name="Reject all: are you sure?").click()
    expect(videos_of(page).get_by_text("Your answer is stored.")).to_be_visible()

    by_form.expect_success()
    rejected.expect_success()
    assert by_form.billed(FINALS) == ["A short film: a candle slowly turns."]
    assert (len(rejected.billed(DRAFTS)), rejected.billed(FINALS)) == (2, [])
