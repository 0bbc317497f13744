"""Faults that refuse a request: nothing is done, nothing is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.sandbox.client import gateway_message, image, ok_json, text, upstream_error

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.sandbox.client import Client
    from tests.support.sandbox import SandboxHandle


SHAPE_A, SHAPE_B, SHAPE_C, HTML = "A", "B", "C", "HTML"


def shape(response: httpx.Response) -> str:
    if response.headers["Content-Type"].startswith("text/html"):
        return HTML
    body = response.json()
    if "error" in body:
        return SHAPE_A
    assert set(body) == {"code", "message", "data"}
    return SHAPE_B if body["message"].startswith("{") else SHAPE_C


REFUSALS = {
    "unauthorized": (401, SHAPE_A, "Invalid token"),
    "forbidden": (403, SHAPE_A, "access_denied"),
    "no_quota": (403, SHAPE_C, "insufficient_user_quota"),
    "moderation": (400, SHAPE_B, "InputTextSensitiveContentDetected"),
    "bad_request": (400, SHAPE_B, "InvalidParameter"),
    "model_not_found": (503, SHAPE_A, "No available channel for model"),
    "endpoint_not_available": (404, SHAPE_A, "endpoint not available"),
    "rate_limited": (429, SHAPE_C, "当前分组上游负载已饱和"),
    "asset_copy_not_ready": (503, SHAPE_C, 'copy on channel 391 is not ready (status=\\"Processing\\")'),
    "asset_processing": (400, SHAPE_B, "asset is still processing and is not available yet"),
    "asset_not_found": (400, SHAPE_B, "The specified asset asset-20260101000000-abcde is not found."),
    "invalid_url_scheme": (400, SHAPE_B, "invalid url scheme"),
    "server_error": (500, SHAPE_C, "do_request_failed"),
    "bad_gateway": (502, HTML, "502 Bad Gateway"),
    "gateway_timeout": (504, HTML, "504 Gateway Time-out"),
    "html_answer": (200, HTML, "<html>"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_submission_is_billed_nothing_and_the_next_one_passes(
    anyfast: Client, sandbox: SandboxHandle, name: str
) -> None:
    status, expected, part = REFUSALS[name]
    sandbox.fault(name)
    response = anyfast.submit()

    assert response.status_code == status
    assert shape(response) == expected
    assert part in response.text
    assert response.headers["X-Oneapi-Request-Id"]
    assert sandbox.billed.generations == 0
    ok_json(anyfast.submit())
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [({}, SHAPE_C), ({"shape": "A"}, SHAPE_A), ({"shape": "B"}, SHAPE_B), ({"retry_after": 7}, SHAPE_C)],
)
def test_too_many_requests_come_in_every_shape(
    anyfast: Client, sandbox: SandboxHandle, parameters: dict[str, Any], expected: str
) -> None:
    sandbox.fault("rate_limited", **parameters)
    response = anyfast.submit()

    assert response.status_code == 429
    assert shape(response) == expected
    assert response.headers.get("Retry-After") == ("7" if "retry_after" in parameters else None)


def test_too_many_requests_can_have_no_body(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("rate_limited", empty=True, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")
    response = anyfast.submit()

    assert (response.status_code, response.content) == (429, b"")
    assert response.headers["Retry-After"].startswith("Wed")


def test_the_message_of_an_error_can_be_chosen(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("moderation", code="InputImageSensitiveContentDetected.PrivacyInformation")
    sandbox.fault("bad_request", reason="the `seed` is unlucky")
    sandbox.fault("server_error", code="get_channel_failed")

    assert upstream_error(anyfast.submit())["code"] == "InputImageSensitiveContentDetected.PrivacyInformation"
    assert upstream_error(anyfast.submit())["message"].startswith("the `seed` is unlucky")
    assert anyfast.submit().json()["code"] == "get_channel_failed"


def test_the_asset_library_has_its_own_shapes(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    for name, on in (
        ("bad_request", "CreateAsset"), ("server_error", "CreateAsset"), ("group_not_found", None),
        ("asset_not_found", "GetAsset"), ("not_found_yet", "GetAsset"),
    ):  # fmt: skip
        sandbox.fault(name, **({"on": on} if on else {}))

    bad, error, missing = (anyfast.create_asset(group_id) for _ in range(3))
    assert (bad.status_code, error.status_code, missing.status_code) == (400, 500, 404)
    assert "upstream_error: [InvalidParameter]" in gateway_message(bad)
    assert error.json()["error"]["code"] == "do_request_failed"
    assert "[NotFound.group_id]" in gateway_message(missing)
    for _ in range(2):
        response = anyfast.asset_call("GetAsset", Id="asset-20260101000000-abcde")
        assert response.status_code == 404
        assert "[NotFound.asset_id]" in gateway_message(response)
    assert sandbox.billed.assets == 0


def test_a_refusal_names_what_the_request_named(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    asset_id = anyfast.asset(group_id)
    for name in ("asset_not_found", "asset_processing", "asset_copy_not_ready"):
        sandbox.fault(name)
        assert asset_id in anyfast.submit(text(), image(f"asset://{asset_id}")).text
    sandbox.fault("model_not_found")
    assert "for model seedance-2.5 under" in anyfast.submit(model="seedance-2.5").text
    sandbox.fault("group_not_found")
    assert group_id in anyfast.create_asset(group_id, Name="other").text
    sandbox.fault("not_found_yet", on="GetAsset")
    assert asset_id in anyfast.asset_call("GetAsset", Id=asset_id).text
    sandbox.fault("model_not_found", on="models")
    assert "for model seedance under" in anyfast.http.get("/v1/models").text


def test_an_empty_response_and_an_odd_one_both_have_status_200(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("empty_answer")
    sandbox.fault("odd_json")

    empty, odd = anyfast.submit(), anyfast.submit()
    assert (empty.status_code, empty.content) == (200, b"")
    assert odd.status_code == 200
    assert not {"id", "task_id", "data"} & set(odd.json())
    assert sandbox.billed.generations == 0


def test_any_status_with_any_body(anyfast: Client, sandbox: SandboxHandle) -> None:
    sandbox.fault("status", status=418, body="I am a teapot", retry_after=3)
    sandbox.fault("status", status=451, body={"reason": ["law"]})

    teapot, law = anyfast.submit(), anyfast.submit()
    assert (teapot.status_code, teapot.text, teapot.headers["Retry-After"]) == (418, "I am a teapot", "3")
    assert (law.status_code, law.json()) == (451, {"reason": ["law"]})


@pytest.mark.parametrize(("unknown_task", "status"), [(400, 400), (404, 404)])
def test_a_task_can_be_unknown_at_first(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], unknown_task: int, status: int
) -> None:
    configure(unknown_task=unknown_task)
    sandbox.fault("not_found_yet", times=2)
    generation_id = anyfast.generate()

    assert [anyfast.query(generation_id).status_code for _ in range(3)] == [status, status, 200]
