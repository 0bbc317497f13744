"""A log line names its row or file, wherever it was written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.log import log_about, subject_logger

if TYPE_CHECKING:
    import pytest

log = subject_logger("airflow_provider_anyfast.a_module")


def test_only_lines_of_a_block_begin_with_its_subject(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with log_about("row 2 (discount 50%)"), log_about("lamp.png"):
        log.info("Sent %d of %s.", 5, "8 %d bytes")
        log.info("Done.")
    log.info("All sent.")
    assert caplog.messages == [
        "row 2 (discount 50%), lamp.png: Sent 5 of 8 %d bytes.",
        "row 2 (discount 50%), lamp.png: Done.",
        "All sent.",
    ]


def test_each_thread_has_its_own_subject(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with ThreadPoolExecutor(1) as pool, log_about("row 1"):
        pool.submit(log.info, "Alone.").result()
        pool.submit(copy_context().run, log.info, "For the row.").result()
    assert caplog.messages == ["Alone.", "row 1: For the row."]
