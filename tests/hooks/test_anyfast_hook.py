"""A connection in its three forms, the check of each field, and the hook that uses it."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import Connection

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import AnyFastError, ConfigurationError
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook, settings_of
from tests.support.installed_airflow import LOADS_ANY_EXTRA

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_anyfast.client.settings import Settings
    from tests.support.sandbox import SandboxHandle

KEY = "sk-canary-0123456789"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AnyFastHook]:
    def connect(value: str) -> AnyFastHook:
        monkeypatch.setenv("AIRFLOW_CONN_ANYFAST_DEFAULT", value)
        return AnyFastHook()

    return connect


def settings(**fields: Any) -> Settings:
    extra = fields.pop("extra", {})
    connection = Connection(conn_id="a", conn_type="anyfast", **{"password": KEY, **fields})
    return settings_of(connection, extra)


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({"conn_type": "anyfast", "password": KEY, "extra": {"timeout": 30}}),
        json.dumps({"conn_type": "anyfast", "password": KEY, "host": "www.anyfast.ai", "extra": '{"timeout": "30"}'}),
        f"anyfast://:{KEY}@www.anyfast.ai?timeout=30",
        f"anyfast://:{KEY}@?timeout=30",
    ],
    ids=["JSON", "JSON with a host", "URI", "URI without a host"],
)
def test_json_uri_and_environment_variable_are_equivalent(connect: Callable[[str], AnyFastHook], value: str) -> None:
    found = connect(value).settings
    assert (found.api_key, found.base_url, found.timeout) == (KEY, "https://www.anyfast.ai", 30.0)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({}, "https://www.anyfast.ai"),
        ({"host": "www.anyfast.com.cn"}, "https://www.anyfast.com.cn"),
        ({"host": "http://127.0.0.1:8765/"}, "http://127.0.0.1:8765"),
        ({"host": "127.0.0.1", "schema": "http", "port": 8765}, "http://127.0.0.1:8765"),
        ({"host": "gateway.example.com/anyfast", "port": 8443}, "https://gateway.example.com:8443/anyfast"),
        ({"host": "https://gateway.example.com/a/b/"}, "https://gateway.example.com/a/b"),
        ({"host": "[::1]:80", "schema": "http"}, "http://[::1]"),
        ({"host": "https://WWW.AnyFast.ai:443/"}, "https://www.anyfast.ai"),
        ({"host": "[::1]", "schema": "http", "port": 81}, "http://[::1]:81"),
        ({"host": "::1", "schema": "http", "port": 81}, "http://[::1]:81"),
        ({"host": "http://::1"}, "http://[::1]"),
        ({"host": "https://www.anyfast.ai/v1/"}, "https://www.anyfast.ai"),
        ({"host": "www.anyfast.ai/v1"}, "https://www.anyfast.ai"),
        ({"host": "gateway.example.com/anyfast/v1"}, "https://gateway.example.com/anyfast"),
    ],
)
def test_host_schema_port_and_path_make_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize("key", [KEY, f"Bearer {KEY}", f"  bearer {KEY}\n"])
def test_a_leading_bearer_is_removed_from_a_key(key: str) -> None:
    assert settings(password=key).api_key == KEY


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, True), ("", True), (True, True), ("True", True), ("false", False), (False, False)],
)
def test_verify_accepts_the_values_of_forms_and_json(given: object, expected: object) -> None:
    assert settings(extra={"verify": given}).verify is expected


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ({"password": None}, "password: no API key"),
        ({"password": "Bearer "}, "password: no API key"),
        ({"password": "two words"}, "password: the API key contains a space"),
        ({"host": "ftp://x"}, "host: 'ftp://x'"),
        ({"host": "https://"}, "host: "),
        ({"host": "http:/x"}, "host: 'http:/x'"),
        ({"host": "https:www.anyfast.ai"}, "host: "),
        ({"extra": []}, "extra: it must be a JSON object"),
        ({"extra": "text"}, "extra: it must be a JSON object"),
        ({"extra": 5}, "extra: it must be a JSON object"),
        ({"extra": {"timeout": "soon"}}, "timeout: 'soon' is not a number"),
        ({"extra": {"timeout": 0}}, "timeout: 0.0"),
        ({"extra": {"timeout": True}}, "timeout: True"),
        ({"extra": {"timeout": "nan"}}, "timeout: 'nan'"),
        ({"extra": {"submit_timeout": -1}}, "submit_timeout: -1.0"),
        ({"extra": {"max_retries": 1.5}}, "max_retries: 1.5 is not a whole number"),
        ({"extra": {"max_retries": -1}}, "max_retries: -1"),
        ({"extra": {"verify": "/nowhere.pem"}}, "verify: there is no CA file '/nowhere.pem'"),
        ({"extra": {"proxy": "proxy.example.com"}}, "proxy: "),
    ],
)
def test_a_bad_value_is_one_error_that_names_the_connection_and_the_field(fields: dict[str, Any], phrase: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings(**fields)
    assert "Connection 'a'" in str(caught.value)
    assert phrase in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("extra", [None, {}])
def test_an_extra_of_null_is_empty(extra: Any) -> None:
    assert settings(extra=extra).timeout == 60.0


@pytest.mark.parametrize("extra", ["null", "[]", '"text"', "5"])
def test_an_extra_that_is_not_an_object_is_empty_or_an_error(connect: Callable[[str], AnyFastHook], extra: str) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "password": KEY, "extra": extra}))
    if not LOADS_ANY_EXTRA:
        with pytest.raises((AirflowNotFoundException, ValueError)):
            hook.settings  # noqa: B018 - the property does the work
        return
    if extra == "null":
        assert hook.settings.api_key == KEY
        return
    with pytest.raises(ConfigurationError, match="extra: it must be a JSON object"):
        hook.settings  # noqa: B018 - the property does the work
    with pytest.raises(ConfigurationError, match="extra: it must be a JSON object"):
        asyncio.run(hook.get_async_conn())


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("NO_PROXY", "[::1]", "NO_PROXY"),
        ("NO_PROXY", "[fd00::]/8", "NO_PROXY"),
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "ALL_PROXY"),
        ("HTTPS_PROXY", "ftp://proxy", "HTTPS_PROXY"),
        ("SSL_CERT_FILE", "/no/such/file.pem", "SSL_CERT_FILE"),
    ],
)
def test_an_environment_that_cannot_be_used_is_named_with_the_connection(
    connect: Callable[[str], AnyFastHook], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, names: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    hook = connect(json.dumps({"conn_type": "anyfast", "password": KEY}))
    with pytest.raises(ConfigurationError) as caught:
        hook.get_conn()
    assert names in str(caught.value)
    assert "'anyfast_default'" in str(caught.value)
    with pytest.raises(ConfigurationError, match=names):
        asyncio.run(hook.get_async_conn())


def test_the_synchronous_look_up_is_the_fallback(
    connect: Callable[[str], AnyFastHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(conn_id: str) -> Connection:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    async def key(conn_id: str) -> str:
        async with await AnyFastHook(conn_id).get_async_conn() as client:
            return client.settings.api_key

    monkeypatch.setattr("airflow.providers.common.compat.connection.get_async_connection", nothing)
    connect(json.dumps({"conn_type": "anyfast", "password": KEY}))
    assert asyncio.run(key("anyfast_default")) == KEY
    with pytest.raises(AirflowNotFoundException, match="airflow connections add not_there"):
        asyncio.run(key("not_there"))


def test_a_connection_that_does_not_exist_is_named_with_the_command_that_adds_it() -> None:
    with pytest.raises(AirflowNotFoundException) as raised:
        AnyFastHook("not_there").settings  # noqa: B018 - the property does the work
    assert "The conn_id `not_there` isn't defined, so nothing was sent." in str(raised.value)
    assert "airflow connections add not_there --conn-type anyfast --conn-password" in str(raised.value)
    assert "AIRFLOW_CONN_NOT_THERE" in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        '{"conn_type": "anyfast", "password": "sk-1",}',
        '{"conn_type": "anyfast", "api_key": "sk-1"}',
        "anyfast://:sk/1@www.anyfast.ai",
    ],
)
def test_a_variable_that_airflow_cannot_read_is_named_with_what_it_must_be(
    connect: Callable[[str], AnyFastHook], value: str
) -> None:
    with pytest.raises(AirflowNotFoundException) as raised:
        connect(value).settings  # noqa: B018 - the property does the work
    assert "AIRFLOW_CONN_ANYFAST_DEFAULT defines it, correct its value: JSON must be valid" in str(raised.value)


def test_secrets_are_not_part_of_any_repr() -> None:
    found = settings(extra={"proxy": "http://user:hunter2@proxy.example.com:3128"})
    assert KEY not in repr(found)
    assert "hunter2" not in repr(found)


def test_the_connection_test_is_free_and_counts_the_models(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle
) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    worked, message = hook.test_connection()
    assert worked, message
    assert "models" in message
    assert message.endswith(" models.")
    assert [request.call for request in sandbox.requests()] == ["models", "usage"]


def test_the_connection_test_names_the_balance_if_the_key_may_read_it(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle
) -> None:
    sandbox.reset(billing_pages="on", quota_tokens=1_000_000)
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    worked, message = hook.test_connection()
    assert worked
    assert message.endswith("The key's balance is 1,000,000 of 1,000,000 units of AnyFast's quota.")
    usage = hook.get_usage()
    assert usage is not None
    assert (usage.available, usage.is_unlimited, usage.expires_at) == (1_000_000, False, None)


@pytest.mark.parametrize("pages", ["off", "off-html", "unauthorized", "forbidden", "limited"])
def test_an_unreadable_balance_is_none_and_requested_once(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle, pages: str
) -> None:
    sandbox.reset(billing_pages=pages)
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    assert [hook.get_usage() for _ in range(3)] == [None] * 3
    assert len(sandbox.requests("usage")) == 1


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"password": "wrong"}, "401"),
        ({"host": "http://127.0.0.1:1"}, "could not be reached"),
        ({"password": ""}, "API key"),
    ],
)
def test_the_connection_test_says_in_words_what_is_wrong(
    connect: Callable[[str], AnyFastHook],
    sandbox: SandboxHandle,
    change: dict[str, str],
    phrase: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("airflow_provider_anyfast.client.clock.sleep", lambda _: None)
    fields = {"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key, **change}
    worked, message = connect(json.dumps(fields)).test_connection()
    assert not worked
    assert phrase in message
    assert "next attempt" not in message


@pytest.mark.parametrize("status", [302, 404])
def test_the_connection_test_sends_one_request_and_reports_another_server(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle, status: int
) -> None:
    sandbox.fault("status", on="models", status=status, body="<html>A shop</html>")
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    worked, message = hook.test_connection()
    assert not worked
    assert "the connection's host" in message
    assert len(sandbox.requests()) == 1


def test_every_request_names_provider_airflow_and_python(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle
) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    with hook.get_conn() as client:
        agent = client._http.headers["user-agent"]
    for part in ("airflow-provider-anyfast/", "Airflow/", "Python/"):
        assert part in agent


def test_both_clients_use_the_same_connection(connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))

    async def models() -> tuple[str, ...]:
        async with await hook.get_async_conn() as client:
            return await client.send(endpoints.list_models())

    assert asyncio.run(models()) == hook.run(endpoints.list_models())


def test_all_errors_of_the_hook_and_its_clients_have_one_base_class(
    connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle
) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": "sk-wrong"}))

    async def send() -> None:
        async with await hook.get_async_conn() as client:
            await client.send(endpoints.list_models())

    with hook.get_conn() as client:
        calls: list[Callable[[], object]] = [
            lambda: hook.run(endpoints.list_models()),
            lambda: client.send(endpoints.list_models()),
            lambda: client.send_once(endpoints.list_models()),
            lambda: client.run(endpoints.list_assets()),
            lambda: asyncio.run(send()),
        ]
        for call in calls:
            with pytest.raises(exceptions.AuthenticationError):
                call()
    with pytest.raises(exceptions.ConfigurationError):
        connect(json.dumps({"conn_type": "anyfast"})).get_conn()


def test_a_flow_is_run_like_a_call(connect: Callable[[str], AnyFastHook], sandbox: SandboxHandle) -> None:
    hook = connect(json.dumps({"conn_type": "anyfast", "host": sandbox.url, "password": sandbox.api_key}))
    hook.run(endpoints.create_asset_group("a"))
    assert len(hook.run(endpoints.list_asset_groups())) == 1
    with pytest.raises(AnyFastError):
        hook.run(endpoints.get_asset("asset-20260101000000-aaaaa"))
