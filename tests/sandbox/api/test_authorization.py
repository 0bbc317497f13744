"""Keys: which are accepted, and what a refusal looks like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.sandbox.client import fetch, gateway_message, ok_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.sandbox import SandboxHandle


def test_a_call_without_a_key_is_refused_by_the_gateway(client_with: Callable[[str | None], Client]) -> None:
    response = client_with(None).http.get("/v1/models")

    assert response.status_code == 401
    assert gateway_message(response).startswith("No token provided")
    assert response.json()["error"]["type"] == "new_api_error"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer Bearer sandbox-key", "Basic sandbox-key", "sandbox-key"])
def test_only_a_known_key_after_the_word_bearer_is_accepted(sandbox: SandboxHandle, header: str) -> None:
    response = fetch(f"{sandbox.url}/v1/models", headers={"Authorization": header})

    assert response.status_code == 401
    assert set(response.json()["error"]) == {"message", "type", "code"}


@pytest.mark.parametrize("path", ["/volc/asset/ListAssets", "/volc/asset/CreateAsset", "/v1/video/generations"])
def test_every_call_needs_a_key(client_with: Callable[[str | None], Client], path: str) -> None:
    assert client_with("wrong").http.post(path, json={}).status_code == 401


def test_a_refusal_quotes_the_request_id_of_its_header(client_with: Callable[[str | None], Client]) -> None:
    response = client_with("wrong").http.get("/v1/models")

    request_id = response.headers["X-Oneapi-Request-Id"]
    assert re.fullmatch(r"\d{23}\w{8}|\d{14}\d+\w{8}", request_id)
    assert gateway_message(response) == f"Invalid token (request id: {request_id})"


def test_the_list_of_models_is_a_free_probe_of_a_key(anyfast: Client) -> None:
    models = ok_json(anyfast.http.get("/v1/models"))["data"]

    names = {model["id"] for model in models}
    assert {"seedance", "seedance-2.0", "seedance-fast", "seedance-2.0-ultra", "seedance-2.5"} <= names
    assert {"id", "object", "created", "owned_by", "supported_endpoint_types"} == set(models[0])
    assert set(anyfast.billed().values()) == {0}


def test_a_plan_restricts_the_models_of_a_key(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(models=("seedance-fast", "wan2.7-t2v"))

    assert [model["id"] for model in ok_json(anyfast.http.get("/v1/models"))["data"]] == ["seedance-fast", "wan2.7-t2v"]
    refused = anyfast.submit(model="seedance-2.5")
    assert refused.status_code == 404
    assert gateway_message(refused).startswith("endpoint not available")
    assert anyfast.submit(model="seedance-fast").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/volc/asset/GetAsset"), ("POST", "/v1/video/extend")])
def test_a_wrong_path_or_method_is_an_invalid_url(anyfast: Client, method: str, path: str) -> None:
    response = anyfast.http.request(method, path)

    assert response.status_code == 404
    assert gateway_message(response).startswith(f"Invalid URL ({method} {path})")
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.headers["X-Oneapi-Request-Id"]
