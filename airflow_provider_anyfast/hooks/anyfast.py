"""The hook: makes a synchronous or asynchronous client of AnyFast from an Airflow connection."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook

from airflow_provider_anyfast import __version__
from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.settings import DEFAULT_BASE_URL, Settings
from airflow_provider_anyfast.exceptions import ConfigurationError, as_final
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Connection

    from airflow_provider_anyfast.client.billing import KeyUsage
    from airflow_provider_anyfast.client.endpoints import Call, Flow, ResultT
    from airflow_provider_anyfast.client.transport import AnyFastClient, AsyncAnyFastClient

USER_AGENT = f"airflow-provider-anyfast/{__version__} Airflow/{airflow_version} Python/{platform.python_version()}"


class AnyFastHook(BaseHook):
    """Sends calls to AnyFast with the key of an Airflow connection.

    For most uses, ``run`` is enough::

        from airflow_provider_anyfast.client import endpoints

        asset = AnyFastHook().run(endpoints.get_asset("asset-…"))

    Args:
        anyfast_conn_id: a connection of type ``anyfast``, with the API key as its password.
    """

    conn_name_attr = "anyfast_conn_id"
    default_conn_name = "anyfast_default"
    conn_type = "anyfast"
    hook_name = "AnyFast"

    def __init__(self, anyfast_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.anyfast_conn_id = anyfast_conn_id

    @cached_property
    def settings(self) -> Settings:
        """The checked values of the connection.

        Raises:
            ConfigurationError: a field of the connection is missing or malformed; the message names it.
        """
        with _defined(self.anyfast_conn_id):
            connection = self.get_connection(self.anyfast_conn_id)
        return settings_of(connection, connection.extra_dejson)

    def get_conn(self) -> AnyFastClient:
        """A new synchronous client, to be used as a context manager or closed. It raises the classes of ``exceptions``.

        Raises:
            ConfigurationError: a field of the connection or an environment variable cannot be used; it is named.
        """
        from airflow_provider_anyfast.client.transport import AnyFastClient  # noqa: PLC0415 - not while a DAG is parsed

        settings = self.settings
        with _named(self.anyfast_conn_id):
            return AnyFastClient(settings, USER_AGENT, as_raised=as_final)

    async def get_async_conn(self) -> AsyncAnyFastClient:
        """A new asynchronous client, to be used as a context manager or closed. It raises the same classes.

        Raises:
            ConfigurationError: as ``get_conn`` does.
        """
        from airflow_provider_anyfast.client.transport import AsyncAnyFastClient  # noqa: PLC0415 - likewise

        with _defined(self.anyfast_conn_id):
            connection = await _look_up(self.anyfast_conn_id)
        settings = settings_of(connection, await _extra_of(connection))
        with _named(self.anyfast_conn_id):
            return AsyncAnyFastClient(settings, USER_AGENT, as_raised=as_final)

    def run(self, work: Call[ResultT] | Flow[ResultT]) -> ResultT:
        """Sends one call of ``client.endpoints``, or several with one result, and returns the typed result.

        Raises:
            AnyFastError: one class per cause; see ``exceptions``.
        """
        with self.get_conn() as client:
            return client.run(work) if isinstance(work, Generator) else client.send(work)

    def get_usage(self) -> KeyUsage | None:
        """What the key has spent and may spend; None if AnyFast does not let the key read this. Not billed.

        One process sends at most 20 such requests within 20 minutes, the gateway's limit.
        """
        from airflow_provider_anyfast.client.billing_pages import usage_of  # noqa: PLC0415 - likewise

        with self.get_conn() as client:
            return usage_of(client)

    def test_connection(self) -> tuple[bool, str]:
        """Lists the models that the key may use and its balance, or says what is wrong. Not billed.

        Sends each request once, without retries, because a user waits for the result.
        """
        from airflow_provider_anyfast.client import endpoints  # noqa: PLC0415 - likewise
        from airflow_provider_anyfast.client.billing_pages import usage_of  # noqa: PLC0415 - likewise

        try:
            with self.get_conn() as client:
                models = client.send_once(endpoints.list_models())
                usage = usage_of(client)
        except AnyFastError as error:
            error.is_last_attempt = True
            return False, str(error)
        balance = f" {usage}" if usage is not None else ""
        return True, f"The key works at {self.settings.base_url} and can use {counted(len(models), 'model')}.{balance}"


class AnyFastHookMixin:
    """Gives every operator one hook for its connection.

    List it last among a class's bases: Airflow wraps the ``__init__`` of a class whose first base has none.
    """

    anyfast_conn_id: str

    @cached_property
    def hook(self) -> AnyFastHook:
        """The hook, made at its first use."""
        return AnyFastHook(self.anyfast_conn_id)


def settings_of(connection: Connection, extra: Any) -> Settings:
    """The checked values of a connection; ``extra`` is its decoded extra.

    Raises:
        ConfigurationError: a field is missing or malformed; the message names it and the connection.
    """
    with _named(connection.conn_id):
        if extra is None:
            extra = {}
        if not isinstance(extra, Mapping):
            raise ConfigurationError('extra: it must be a JSON object, such as {"timeout": 60}.')
        return Settings(
            api_key=_api_key(connection.password),
            base_url=_base_url(connection),
            timeout=_number(extra, "timeout", 60.0),
            submit_timeout=_number(extra, "submit_timeout", 300.0),
            max_retries=int(_number(extra, "max_retries", 5, whole=True)),
            verify=_verify(extra.get("verify")),
            proxy=str(extra["proxy"]) if extra.get("proxy") else None,
            price_per_million_tokens=_price(extra.get("price_per_million_tokens")),
        )


@contextmanager
def _defined(conn_id: str) -> Iterator[None]:
    """Adds how to define the connection to Airflow's error that it is not defined.

    The class stays Airflow's own, so that a retry helps if a secrets backend did not respond.
    """
    try:
        yield
    except AirflowNotFoundException as error:
        raise AirflowNotFoundException(
            f"{str(error).rstrip('.')}, so nothing was sent. Add it in Airflow's UI under Admin, Connections, "
            f"or with: airflow connections add {conn_id} --conn-type anyfast --conn-password <API key>. If "
            f"AIRFLOW_CONN_{conn_id.upper()} defines it, correct its value: JSON must be valid and have only Airflow's "
            "own fields, and each part of a URI must be URL-encoded."
        ) from None


@contextmanager
def _named(conn_id: str) -> Iterator[None]:
    """Adds the connection's name to configuration errors in the block."""
    try:
        yield
    except errors.ConfigurationError as error:
        raise ConfigurationError(f"Connection {conn_id!r}, {error.what}", advice=error.advice) from None


async def _look_up(conn_id: str) -> Connection:
    from airflow.providers.common.compat.connection import get_async_connection  # noqa: PLC0415 - likewise
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - likewise

    try:
        return await get_async_connection(conn_id)
    except AirflowNotFoundException:
        # In `airflow dags test`, which runs triggers in its own process, only the synchronous lookup reaches the
        # database. If the connection does not exist, it raises the same error.
        return await sync_to_async(BaseHook.get_connection)(conn_id)


async def _extra_of(connection: Connection) -> Any:
    """The decoded extra, without blocking the event loop while Airflow masks its secrets."""
    if hasattr(connection, "aextra_dejson"):  # Airflow 3.3.2
        return await connection.aextra_dejson()
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - likewise

    # Not asyncio.to_thread: responses to what Airflow 3.1 sends to its supervisor must be read in this event loop,
    # or the triggerer reads them out of order and crashes.
    return await sync_to_async(lambda: connection.extra_dejson)()


def _api_key(password: str | None) -> str:
    """The key without a leading ``Bearer``, which users often paste with it."""
    return re.sub(r"(?i)^bearer(\s+|$)", "", (password or "").strip())


def _base_url(connection: Connection) -> str:
    host = (connection.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    scheme, separator, rest = host.partition("://")
    if not separator:
        if re.match(r"(?i)https?:", host):
            raise ConfigurationError(f"host: {host!r} is not an http(s) address such as {DEFAULT_BASE_URL}.")
        scheme, rest = connection.schema or "https", host
    authority, slash, path = rest.rstrip("/").partition("/")
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"  # an IPv6 address
    if connection.port and not authority.rpartition(":")[2].isdigit():
        authority = f"{authority}:{connection.port}"
    return f"{scheme}://{authority}{slash}{path}"


def _number(extra: Mapping[str, Any], name: str, default: float, *, whole: bool = False) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name}: {value!r} is not a number.") from None
    if math.isnan(number) or isinstance(value, bool) or (whole and not number.is_integer()):
        raise ConfigurationError(f"{name}: {value!r} is not a {'whole ' if whole else ''}number.")
    return number


def _price(value: Any) -> Decimal | None:
    if value is None or value == "":
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ConfigurationError(f"price_per_million_tokens: {value!r} is not a number.") from None


def _verify(value: Any) -> bool | str:
    if value is None or value == "":
        return True
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).strip().lower(), str(value))
