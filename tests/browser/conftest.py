"""Debian's Chromium with one Airflow and one sandbox; screenshots go to ``.browser/``."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from scripts.local_airflow import LocalAirflow
from scripts.local_sandbox import local_sandbox
from scripts.system_programs import system_program
from tests.support.s3 import running_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from scripts.local_sandbox import LocalSandbox
    from tests.support.s3 import S3

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / ".browser"

PATIENCE = 60_000.0
"""Milliseconds that an action or an expectation may take; a page needs two seconds on two idle cores."""
REAPED_SOON = {"AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1"}
"""Reaps a worker within a second of its end instead of five: Airflow can fail a task that is answered before that, and
the tests answer faster than a person."""
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
"""Keeps Chromium from requesting anything except the pages under test."""


@pytest.fixture(scope="session")
def anyfast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    log = tmp_path_factory.mktemp("sandbox") / "sandbox.log"
    with local_sandbox(log, "--completion-seconds", "10", "--asset-seconds", "1") as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with running_s3() as s3:
        s3.empty()
        yield s3


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, anyfast: LocalSandbox, s3: S3) -> Iterator[LocalAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    connections = {"anyfast_default": anyfast.connection, "s3": json.loads(s3.connection.as_json())}
    with LocalAirflow(home, ROOT / "example_dags", connections=connections, settings=REAPED_SOON) as cluster:
        cluster.migrate()
        cluster.start_all()
        yield cluster


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=system_program("chromium"), chromium_sandbox=os.geteuid() != 0, args=QUIET
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def picture() -> Callable[[Page, str], None]:
    """Takes a screenshot of a page, small enough for a repository."""
    PICTURES.mkdir(exist_ok=True)

    def take(page: Page, name: str) -> None:
        with Image.open(io.BytesIO(page.screenshot(animations="disabled"))) as shot:
            shot.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)

    return take
