"""The check that a person is real, and the resulting group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.sandbox.client import gateway_message, image, text, upstream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock

CALLBACK = "https://example.com/back?from=sandbox"


@pytest.fixture
def person(anyfast: Client) -> str:
    """The group of a person who has passed the check."""
    session = anyfast.ok("CreateVisualValidateSession", CallbackURL=CALLBACK)
    httpx.get(session["H5Link"])
    group_id: str = anyfast.ok("GetVisualValidateResult", BytedToken=session["BytedToken"])["GroupId"]
    return group_id


def test_the_group_is_there_once_the_person_has_opened_the_link(anyfast: Client) -> None:
    session = anyfast.ok("CreateVisualValidateSession", CallbackURL=CALLBACK)
    assert set(session) == {"BytedToken", "H5Link", "CallbackURL"}
    assert session["CallbackURL"] == CALLBACK
    assert anyfast.ok("GetVisualValidateResult", BytedToken=session["BytedToken"]) == {"GroupId": ""}

    opened = httpx.get(session["H5Link"])
    assert opened.status_code == 302
    assert opened.headers["Location"] == f"{CALLBACK}&bytedToken={session['BytedToken']}&resultCode=10000"
    result = anyfast.ok("GetVisualValidateResult", BytedToken=session["BytedToken"])
    assert result["GroupId"].startswith("group-")
    httpx.get(session["H5Link"])
    assert anyfast.ok("GetVisualValidateResult", BytedToken=session["BytedToken"]) == result
    assert anyfast.billed()["asset_groups"] == 0


def test_the_callback_is_documented_as_optional_and_yet_required(anyfast: Client) -> None:
    response = anyfast.asset_call("CreateVisualValidateSession")

    assert response.status_code == 400
    assert "[***.CallbackURL] The required parameter CallbackURL is missing." in gateway_message(response)


def test_the_link_expires_after_two_minutes(anyfast: Client, clock: FakeClock) -> None:
    session = anyfast.ok("CreateVisualValidateSession", CallbackURL=CALLBACK)
    clock.advance(120)

    assert httpx.get(session["H5Link"]).status_code == 403
    assert anyfast.ok("GetVisualValidateResult", BytedToken=session["BytedToken"]) == {"GroupId": ""}


def test_a_session_is_unknown_to_other_keys_and_a_link_without_one_is_refused(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(api_keys=({"value": "sandbox-key"}, {"value": "second-key"}))
    session = anyfast.ok("CreateVisualValidateSession", CallbackURL=CALLBACK)
    httpx.get(session["H5Link"])

    other = client_with("second-key")
    assert other.ok("GetVisualValidateResult", BytedToken=session["BytedToken"]) == {"GroupId": ""}
    assert other.ok("GetVisualValidateResult", BytedToken="nothing") == {"GroupId": ""}
    assert httpx.get(session["H5Link"] + "x").status_code == 403


def test_a_persons_group_is_in_no_list_but_its_assets_are_under_their_own_type(
    anyfast: Client, person: str, clock: FakeClock
) -> None:
    asset_id = anyfast.asset(person)
    clock.advance(2)

    assert anyfast.list("ListAssetGroups")["Items"] == []
    assert anyfast.list("ListAssetGroups", filtered={"GroupType": "LivenessFace"})["Items"] == []
    assert anyfast.ok("GetAssetGroup", Id=person)["GroupType"] == "LivenessFace"
    assert anyfast.list("ListAssets")["Items"] == []
    (item,) = anyfast.list("ListAssets", filtered={"GroupType": "LivenessFace"})["Items"]
    assert (item["Id"], item["Status"]) == (asset_id, "Active")


def test_seedance_2_accepts_a_verified_person_and_2_5_does_not_find_them(
    anyfast: Client, person: str, clock: FakeClock
) -> None:
    asset_id = anyfast.asset(person)
    clock.advance(2)
    content = (text(), image(f"asset://{asset_id}"))

    assert anyfast.submit(*content, model="seedance-2.0").status_code == 200
    refused = anyfast.submit(*content, model="seedance-2.5")
    assert refused.status_code == 400
    assert f"The specified asset {asset_id} is not found." in upstream_error(refused)["message"]
