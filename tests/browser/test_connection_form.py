"""The form of an AnyFast connection in Airflow's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.installed_airflow import FOLDS_EXTRA_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox

pytestmark = pytest.mark.timeout(900)

CONN_ID = "anyfast_studio"
EXTRAS = {
    "Timeout (seconds)": "30",
    "Submit timeout (seconds)": "120",
    "Retries of a call": "2",
    "Verify TLS": "false",
    "Proxy": "http://user:password@127.0.0.1:9",
}


def test_a_connection_is_filled_in_saved_and_read_back_with_its_key_masked(
    airflow: LocalAirflow, anyfast: LocalSandbox, page: Page, picture: Callable[[Page, str], None]
) -> None:
    page.set_viewport_size({"width": 1100, "height": 1040})
    page.goto(f"{airflow.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(CONN_ID)
    form.get_by_role("combobox", name="Connection Type").fill("AnyFast")
    page.get_by_role("option", name="AnyFast", exact=True).click()
    form.get_by_label("Base URL").fill(anyfast.url)
    form.get_by_label("API key").fill(anyfast.api_key)
    for unused in ("Login", "Schema", "Port"):
        expect(form.get_by_label(unused, exact=True)).to_have_count(0)
    picture(page, "connection-key")
    _open_extras(form)
    for label, value in EXTRAS.items():
        _extra(form, label).fill(value)
    picture(page, "connection-form")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()

    row = page.get_by_role("row").filter(has_text=CONN_ID)
    row.get_by_role("button", name="Edit Connection").click()
    expect(form.get_by_label("Base URL")).to_have_value(anyfast.url)
    expect(form.get_by_label("API key")).to_have_value("***")
    _open_extras(form)
    for label, value in (EXTRAS | {"Proxy": "***"}).items():
        expect(_extra(form, label)).to_have_value(value)
    picture(page, "connection-read-back")

    # After the masked form is saved again, the key still works: the sandbox accepts it, now without a proxy.
    _extra(form, "Proxy").fill("")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    works, message = airflow.rest.test_connection(CONN_ID, "anyfast")
    assert works, message
    assert message.startswith(f"The key works at {anyfast.url}")


def _open_extras(form: Locator) -> None:
    if FOLDS_EXTRA_FIELDS:
        form.get_by_role("button", name="Extra Fields", exact=True).click()


def _extra(form: Locator, label: str) -> Locator:
    """The field with this label: Airflow associates only number fields with their labels."""
    group = form.get_by_role("group").filter(has=form.page.get_by_text(label, exact=True))
    return group.get_by_role("textbox").or_(group.get_by_role("spinbutton"))
