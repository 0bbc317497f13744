"""A request has the same fingerprint however its links are signed, and different requests have different ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_anyfast.assets.source import url_source
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of, short_digest
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.seedance.request import VideoRequest

CONNECTION = "anyfast_default https://www.anyfast.ai"


def of(link: str, billed_to: str = CONNECTION) -> str:
    return fingerprint_of(VideoRequest.parse(prompt="A boat", reference_images=[link]).body(), billed_to)


SIGNED = {
    "S3": (
        "https://bucket.s3.amazonaws.com/a%20b.png?response-content-type=image/png&X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIA{n}%2F20260528%2Fus-east-1&X-Amz-Date=2026052{n}T000000Z&X-Amz-Expires=3600"
        "&X-Amz-Security-Token=tok{n}%3D&X-Amz-SignedHeaders=host&X-Amz-Signature=ab{n}"
    ),
    "S3, old": "https://bucket.s3.amazonaws.com/a.png?AWSAccessKeyId=AKIA{n}&Signature=ab{n}%3D&Expires=177728850{n}",
    "GCS": (
        "https://storage.googleapis.com/bucket/a.png?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=x{n}"
        "&X-Goog-Date=2026052{n}T000000Z&X-Goog-Expires=3600&X-Goog-SignedHeaders=host&X-Goog-Signature=ab{n}"
    ),
    "GCS, old": "https://storage.googleapis.com/b/a.png?GoogleAccessId=x{n}&Expires=177728850{n}&Signature=ab{n}",
    "Azure": (
        "https://account.blob.core.windows.net/c/a.png?sp=r&st=2026-05-2{n}T00:00:00Z&se=2026-05-2{n}T08:00:00Z"
        "&spr=https&sv=2022-11-02&sr=b&sig=ab{n}%3D&skoid=1{n}&sktid=2&skt=3{n}&ske=4{n}&sks=b&skv=5"
    ),
    "TOS": (
        "https://bucket.tos-cn-beijing.volces.com/a.png?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=A{n}"
        "&X-Tos-Date=2026052{n}T000000Z&X-Tos-Expires=3600&X-Tos-SignedHeaders=host&X-Tos-Signature=ab{n}"
    ),
    "OSS": "https://b.oss-cn-beijing.aliyuncs.com/a.png?OSSAccessKeyId=x{n}&Expires=17772885{n}&Signature=ab{n}"
    "&security-token=t{n}",
    "OSS, new": "https://b.oss-cn-beijing.aliyuncs.com/a.png?x-oss-date=2026{n}&x-oss-signature=ab{n}&x-oss-expires=9{n}",
    "COS": (
        "https://b.cos.ap-beijing.myqcloud.com/a.png?q-sign-algorithm=sha1&q-ak=A{n}&q-sign-time=1{n};2&q-key-time=1{n}"
        "&q-header-list=host&q-url-param-list=&q-signature=ab{n}"
    ),
    "CloudFront": "https://d1.cloudfront.net/a.png?Expires=17772885{n}&Signature=ab{n}&Key-Pair-Id=K{n}&Policy=p{n}",
}
signed = pytest.mark.parametrize("link", SIGNED.values(), ids=SIGNED.keys())


@signed
def test_a_link_with_a_new_signature_is_the_same_request(link: str) -> None:
    assert of(link.format(n=1)) == of(link.format(n=2))


@signed
def test_a_link_to_another_file_is_another_request(link: str) -> None:
    assert of(link.format(n=1)) != of(link.replace("a.png", "b.png").replace("a%20b", "b").format(n=1))


@signed
def test_a_link_with_a_new_signature_in_a_prompt_is_the_same_request(link: str) -> None:
    first, second = (fingerprint_of({"prompt": f'Like "{link.format(n=n)}" here'}, CONNECTION) for n in (1, 2))
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://host/a.png?version=1", "https://host/a.png?version=2"),
        ("https://host/a.png", "https://other/a.png"),
        ("https://host/a.png?a=", "https://host/a.png"),
        ("https://host/a.png#1", "https://host/a.png#2"),
        ("https://host/a.png?a=1&b=2", "https://host/a.png?a=1"),
    ],
)
def test_any_other_difference_in_a_link_is_another_request(one: str, other: str) -> None:
    assert of(one) != of(other)


@pytest.mark.parametrize(
    "parameters",
    [
        {"prompt": "A red boat"},
        {"model": "seedance-2.0"},
        {"duration": 6},
        {"seed": 1},
        {"resolution": "480p"},
        {"first_frame": "asset-1"},
        {"watermark": False},
        {"extra_body": {"priority": 1}},
    ],
)
def test_any_difference_in_a_request_changes_the_fingerprint(parameters: dict[str, Any]) -> None:
    given: dict[str, Any] = {"prompt": "A boat", "duration": 5}
    same = fingerprint_of(VideoRequest.parse(**given).body(), CONNECTION)
    assert fingerprint_of(VideoRequest.parse(**given).body(), CONNECTION) == same
    assert fingerprint_of(VideoRequest.parse(**{**given, **parameters}).body(), CONNECTION) != same


def test_another_connection_changes_the_fingerprint() -> None:
    assert of("https://host/a.png") != of("https://host/a.png", "other https://www.anyfast.ai")


def test_the_order_of_fields_makes_no_difference() -> None:
    assert fingerprint_of({"a": 1, "b": 2}, CONNECTION) == fingerprint_of({"b": 2, "a": 1}, CONNECTION)


@pytest.mark.parametrize("prompt", ["see http://[x", "https://[::1", "https://", "\ud800", "纸船", 'https://h/"\\n'])
def test_any_prompt_has_a_fingerprint(prompt: str) -> None:
    assert fingerprint_of({"prompt": prompt}, CONNECTION) == fingerprint_of({"prompt": prompt}, CONNECTION)
    assert fingerprint_of({"prompt": prompt}, CONNECTION) != fingerprint_of({"prompt": prompt + "x"}, CONNECTION)


@given(st.text(), st.text())
def test_two_prompts_have_two_fingerprints(one: str, other: str) -> None:
    assume(one != other and "http" not in one + other)
    assert fingerprint_of({"prompt": one}, CONNECTION) != fingerprint_of({"prompt": other}, CONNECTION)


@given(st.text(max_size=20))
def test_no_link_breaks_a_fingerprint(rest: str) -> None:
    assert len(fingerprint_of({"prompt": f"https://{rest}"}, CONNECTION)) == 64


# Records and names of assets that hold such digests must be recognised by later versions.


def test_a_short_digest_never_changes() -> None:
    assert short_digest("A boat, 🚤 \ud83d") == "399347c36a701732"


def test_the_digest_of_a_prompt_never_changes_and_ignores_spacing() -> None:
    body = {"model": "seedance", "content": [{"type": "text", "text": " A boat,  🚤 \ud83d"}]}
    assert RequestTraits.of(body).prompt == "399347c36a701732"
    assert RequestTraits.of({"model": "seedance"}).prompt == ""


def test_the_name_of_an_asset_from_a_link_never_changes() -> None:
    assert url_source("https://host/boat.png").name == "boat-0c1f939e8265"
