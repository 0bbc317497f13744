"""What the gateway masks in relayed messages."""

from __future__ import annotations

import json

import pytest

from airflow_provider_anyfast.sandbox.api.masking import mask
from airflow_provider_anyfast.sandbox.api.responses import upstream_error


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("nothing to hide", "nothing to hide"),
        ("[InvalidParameter.PixelCountTooSmall] no", "[***.PixelCountTooSmall] no"),
        ("[NotFound.group_id] no", "[NotFound.group_id] no"),
        ("ask openai.com", "ask ***.com"),
        ("ask api.openai.com", "ask ***.***.com"),
        ("ask sub.domain.co.uk", "ask ***.***.co.uk"),
        ("at 192.168.1.1", "at ***.***.***.***"),
        ("http://example.com", "http://***.com"),
        ("http://localhost/", "http://***/"),
        ("https://api.test.org/v1/users/123?key=secret&b=2", "https://***.org/***/***/***?key=***&b=***"),
        ("https://sub.domain.co.uk/path/to", "https://***.co.uk/***/***"),
    ],
)
def test_addresses_and_what_looks_like_them_are_hidden(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_an_upstream_error_is_masked_only_when_it_contains_an_address() -> None:
    code = "InputImageSensitiveContentDetected.PrivacyInformation"

    plain = json.loads(upstream_error(400, code, "no faces").body)
    masked = json.loads(upstream_error(400, code, "the http fetch failed").body)
    assert json.loads(plain["message"])["error"]["code"] == code
    assert json.loads(masked["message"])["error"]["code"] == "***.PrivacyInformation"
