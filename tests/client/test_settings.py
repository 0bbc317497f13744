"""A connection's values are checked once; the error for a wrong one names it and contains no secret."""

from __future__ import annotations

import importlib.util
import ssl
from typing import TYPE_CHECKING, Any

import certifi
import pytest

from airflow_provider_anyfast.client.errors import ConfigurationError
from airflow_provider_anyfast.client.settings import DEFAULT_BASE_URL, Settings
from airflow_provider_anyfast.client.transport import AnyFastClient

if TYPE_CHECKING:
    from pathlib import Path


def test_only_the_key_is_required() -> None:
    settings = Settings("sk-1")
    assert settings.base_url == DEFAULT_BASE_URL == "https://www.anyfast.ai"
    assert (settings.timeout, settings.submit_timeout, settings.max_retries) == (60.0, 300.0, 5)
    assert settings.verify is True
    assert settings.proxy is None


@pytest.mark.parametrize(
    "values",
    [
        {"base_url": "http://127.0.0.1:8765"},
        {"base_url": "https://gateway.test/anyfast"},
        {"base_url": "https://[::1]:8443"},
        {"timeout": 0.1, "submit_timeout": 1},
        {"max_retries": 0},
        {"verify": False},
        {"verify": certifi.where()},
        {"proxy": "http://user:pass@proxy:3128"},
        {"proxy": "https://proxy:3128"},
    ],
    ids=str,
)
def test_valid_values_make_a_client(values: dict[str, Any]) -> None:
    with AnyFastClient(Settings("sk-1", **values)) as client:
        assert client.settings.api_key == "sk-1"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"api_key": ""}, "password: no API key"),
        ({"api_key": "sk 1"}, "password"),
        ({"api_key": "sk-1\n"}, "password"),
        ({"api_key": "sk\t1"}, "password"),
        ({"api_key": "sk-\x001"}, "password"),
        ({"api_key": "sk-\x7f1"}, "password"),
        ({"api_key": "sk-ключ"}, "password"),
        ({"base_url": ""}, "host"),
        ({"base_url": "www.anyfast.ai"}, "host"),
        ({"base_url": "ftp://www.anyfast.ai"}, "host"),
        ({"base_url": "https://"}, "host"),
        ({"base_url": "https:///path"}, "host"),
        ({"base_url": "https://xn--a"}, "host"),
        ({"base_url": "https://host:port"}, "host"),
        ({"base_url": "https://user:hunter2@host"}, "host"),
        ({"base_url": "https://host?token=hunter2"}, "host"),
        ({"base_url": "https://host#hunter2"}, "host"),
        ({"timeout": 0.0}, "timeout: 0.0"),
        ({"timeout": -1.0}, "timeout: -1.0"),
        ({"timeout": float("nan")}, "timeout: nan"),
        ({"timeout": float("inf")}, "timeout: inf"),
        ({"timeout": 1e12}, "timeout: 1000000000000.0"),
        ({"submit_timeout": 0}, "submit_timeout: 0"),
        ({"max_retries": -1}, "max_retries: -1"),
        ({"verify": "/no/such/file.pem"}, "verify: there is no CA file '/no/such/file.pem'"),
        ({"verify": ""}, "verify"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"proxy": "ftp://proxy"}, "proxy"),
        ({"proxy": ""}, "proxy"),
        ({"proxy": "http://"}, "proxy"),
        ({"proxy": "http://user:hunter2/more@proxy"}, "proxy"),
        ({"proxy": "http://proxy:port"}, "proxy"),
    ],
    ids=str,
)
def test_an_error_names_the_wrong_value_and_no_secret(values: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**{"api_key": "sk-1", **values})
    assert str(caught.value).startswith(names)
    assert "hunter2" not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("proxy", ["socks5://user:hunter2@proxy:1080", "socks5h://proxy:1080"])
def test_a_socks_proxy_needs_its_package(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    there = monkeypatch.setattr
    there("airflow_provider_anyfast.client.settings.find_spec", lambda name: None if name == "socksio" else find(name))
    with pytest.raises(ConfigurationError, match="socksio") as caught:
        Settings("sk-1", proxy=proxy)
    assert "hunter2" not in str(caught.value)
    there("airflow_provider_anyfast.client.settings.find_spec", lambda name: object())
    assert Settings("sk-1", proxy=proxy).proxy == proxy


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"verify: .*ca\.pem"):
        Settings("sk-1", verify=str(path)).ssl_context  # noqa: B018 - the property does the work


def test_a_folder_is_not_a_file_of_certificates(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="verify"):
        Settings("sk-1", verify=str(tmp_path))


@pytest.mark.parametrize("verify", [True, certifi.where()], ids=["own", "file"])
def test_certificates_are_verified(verify: bool | str) -> None:  # noqa: FBT001 - the setting's own type
    context = Settings("sk-1", verify=verify).ssl_context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs()


def test_verification_can_be_switched_off() -> None:
    context = Settings("sk-1", verify=False).ssl_context
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_certificates_are_read_once_for_all_clients_of_a_connection() -> None:
    settings = Settings("sk-1")
    assert settings.ssl_context is settings.ssl_context
