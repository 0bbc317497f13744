"""No message contains a key, a signature, a password or media."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

from airflow_provider_anyfast.client.endpoints import Call
from airflow_provider_anyfast.client.error_parsing import error_from_response
from airflow_provider_anyfast.client.redact import MAX_LENGTH, redact
from airflow_provider_anyfast.client.settings import Settings

KEY = "sk-4Zt8mQ1wX7"
PICTURE = base64.b64encode(bytes(range(256)) * 2).decode()
SECRETS = {
    "the key": (f"the key {KEY} is unknown", KEY),
    "the header": ("Authorization: Bearer abc.def-123 was refused", "abc.def-123"),
    "the header in lower case": ("authorization: bearer abc.def-123", "abc.def-123"),
    "a signed link": ("https://host/x.mp4?X-Tos-Signature=ab12&X-Tos-Date=1 is gone", "ab12"),
    "a signed link at the end of a sentence": ("see https://host/x.mp4?sig=ab12", "ab12"),
    "a signed link in JSON": (json.dumps({"url": "https://host/x.mp4?sig=ab12"}), "ab12"),
    "a data URI": (f"data:image/png;base64,{PICTURE} is too large", PICTURE[:60]),
    "a short data URI": ("data:image/png;base64,iVBORw0KGgo= is too small", "iVBORw0KGgo"),
    "a data URI with parameters": ("data:text/plain;charset=utf-8;base64,aGVsbG8gd29ybGQ=", "aGVsbG8"),
    "a data URI without a type": ("data:,hello%20world", "hello"),
    "raw Base64": (f"URL {PICTURE} cannot be fetched", PICTURE[:60]),
    "wrapped Base64": (base64.encodebytes(bytes(range(256)) * 2).decode(), PICTURE[:60]),
    "Base64 for links": (base64.urlsafe_b64encode(bytes(range(256)) * 2).decode(), PICTURE[:60]),
    "the password of a proxy": ("http://user:pass99@proxy:3128 refused", "pass99"),
    "a password with an at sign": ("http://user:pa@ss99@proxy:3128 refused", "ss99"),
    "the password of another scheme": ("socks5://user:pass99@proxy", "pass99"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_removed_from_a_text(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text, KEY)


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("place", ["message", "code"])
def test_a_secret_in_an_error_response_stays_out_of_the_exception(text: str, secret: str, place: str) -> None:
    response = httpx.Response(400, json={"error": {"message": "refused", place: text}})
    error = error_from_response(response, Call("the call", "GET", "/", parse=str), KEY)
    assert secret not in str(error)
    assert secret not in repr(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "duration=99 is outside 4 to 15 seconds",
        "asset asset-20260320120147-pqwhc is not found",
        "https://docs.anyfast.ai/guides has more",
        "write to someone@example.com",
        "3 < 4 and 5 > 4, 10:30, a/b/c",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redact(text, KEY) == text


def test_a_redacted_link_still_names_the_file() -> None:
    assert redact("https://host/a/x.mp4?sig=1#t") == "https://host/a/x.mp4?…#t"


def test_an_empty_secret_removes_nothing() -> None:
    assert redact("a text", "") == "a text"


def test_a_long_text_is_cut() -> None:
    assert redact("ab " * MAX_LENGTH) == ("ab " * MAX_LENGTH)[:MAX_LENGTH] + "…"


@pytest.mark.parametrize("text", ["a" * 50_000, "http://" * 7_000, "<" * 50_000, "data:" * 10_000])
def test_a_hostile_text_is_cleaned_in_time(text: str) -> None:
    started = time.monotonic()
    redact(text, KEY)
    error_from_response(httpx.Response(502, html=text), Call("the call", "GET", "/", parse=str), KEY)
    assert time.monotonic() - started < 3.0


def test_settings_show_neither_the_key_nor_the_proxy() -> None:
    shown = repr(Settings(KEY, proxy="http://user:pass99@proxy:3128"))
    assert KEY not in shown
    assert "pass99" not in shown
