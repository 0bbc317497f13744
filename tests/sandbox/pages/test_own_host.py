"""Who may read and change a sandbox through its own pages, which need no key."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.sandbox import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.sandbox import SandboxHandle

READS = ["/", "/account", "/sandbox/faults", "/sandbox/requests", "/console/task", "/sandbox/liveness/x"]
WRITES = [
    ("POST", "/sandbox/faults"),
    ("DELETE", "/sandbox/faults"),
    ("POST", "/sandbox/clock"),
    ("POST", "/sandbox/reset"),
]


@pytest.mark.parametrize("path", READS)
def test_the_pages_are_not_served_under_a_foreign_host(sandbox: SandboxHandle, path: str) -> None:
    response = httpx.get(sandbox.url + path, headers={"Host": "evil.example:8765"})

    assert response.status_code == 403
    assert "not to 'evil.example'" in response.text
    assert "--allow-host evil.example" in response.text


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_nobody_changes_anything_under_a_foreign_host(sandbox: SandboxHandle, method: str, path: str) -> None:
    sandbox.fault("no_quota")

    response = httpx.request(method, sandbox.url + path, json={"advance": 5}, headers={"Host": "evil.example"})
    assert response.status_code == 403
    assert len(httpx.get(f"{sandbox.url}/sandbox/faults").json()) == 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:8765", "sandbox.localhost"])
def test_the_pages_are_served_under_every_name_of_this_machine(sandbox: SandboxHandle, host: str) -> None:
    assert httpx.get(f"{sandbox.url}/account", headers={"Host": host}).status_code == 200


def test_another_host_can_be_allowed(sandbox: SandboxHandle, configure: Callable[..., None]) -> None:
    configure(allowed_hosts=("sandbox.internal",))

    assert httpx.get(f"{sandbox.url}/account", headers={"Host": "sandbox.internal:8765"}).status_code == 200
    assert httpx.get(f"{sandbox.url}/account", headers={"Host": "evil.example"}).status_code == 403


def test_the_pages_are_served_under_the_address_of_the_sandbox() -> None:
    with running_sandbox(host="127.0.0.2") as sandbox:
        assert httpx.get(f"{sandbox.url}/account").status_code == 200
        assert httpx.get(f"{sandbox.url}/account", headers={"Host": "127.0.0.3"}).status_code == 403


def test_the_pages_of_a_sandbox_on_every_address_are_served_under_the_one_in_use() -> None:
    with running_sandbox(host="0.0.0.0") as sandbox:
        address = sandbox.url.replace("0.0.0.0", "127.0.0.5") + "/account"
        assert httpx.get(f"{sandbox.url}/account").status_code == 200
        assert httpx.get(address).status_code == 200
        assert httpx.get(address, headers={"Host": "127.0.0.9"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_another_sites_page_changes_nothing(
    sandbox: SandboxHandle, method: str, path: str, headers: dict[str, str]
) -> None:
    sandbox.fault("no_quota")

    response = httpx.request(method, sandbox.url + path, json={"advance": 5}, headers=headers)
    assert response.status_code == 403
    assert "Another site's page" in response.text
    assert len(httpx.get(f"{sandbox.url}/sandbox/faults").json()) == 1


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_programs_and_the_sandboxs_own_pages_change_things(sandbox: SandboxHandle, headers: dict[str, str]) -> None:
    own = {"Origin": sandbox.url} if headers else {}

    assert httpx.post(f"{sandbox.url}/sandbox/reset", headers={**headers, **own}).status_code == 200


def test_the_anyfast_interface_is_served_under_any_host(anyfast: Client) -> None:
    response = anyfast.http.get("/v1/models", headers={"Host": "anyfast.example", "Origin": "https://evil.example"})

    assert response.status_code == 200
    assert urlsplit(str(response.url)).hostname == "127.0.0.1"
