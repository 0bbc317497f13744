"""What a response, or a missing one, proves. The only module that decides whether a billed call was accepted.

========================= ============================================================== =========================
Received                  What it proves about a billed call                             Result or error
========================= ============================================================== =========================
2xx with an id            accepted                                                       the id
connection never made     certainly not accepted: no byte of the request was sent        ConnectionFailedError
4xx with AnyFast's JSON   certainly not accepted                                         the refusal's own class
3xx, other 4xx            certainly not accepted: something in between sent it           ConfigurationError
5xx, 2xx with an error    certainly not accepted if the contract knows the words as a    the refusal's own class
                          refusal (``error_parsing.is_known_refusal``)
anything else, nothing    unknown: it may have been accepted and billed                  LostAnswerError
========================= ============================================================== =========================

303 points to the outcome of something that was done, and 408 and 499 mean that one side stopped waiting: they prove
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_anyfast.client.body import decode_json
from airflow_provider_anyfast.client.error_parsing import (
    ErrorResponse,
    error_from_response,
    is_known_refusal,
    parse_error_response,
)
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    APIError,
    ConfigurationError,
    ConnectionFailedError,
    LostAnswerError,
    NoAnswerError,
    UnexpectedAnswerError,
)
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.endpoints import Call, ResultT
    from airflow_provider_anyfast.client.network import Exchange
    from airflow_provider_anyfast.client.settings import Settings

log = subject_logger(__name__)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
_LOGGED = 4096
"""Characters of a response without an id that are logged, before they are shortened further."""
_PROVE_NOTHING = (303, 408, 499)
_DECISIVE = (401, 413)
"""HTTP statuses that are taken for AnyFast's even without its JSON."""


def read_response(call: Call[ResultT], response: httpx.Response, settings: Settings) -> ResultT:
    """The typed result.

    Raises:
        LostAnswerError: ``call`` is billed, and the response does not prove whether it was accepted.
        AnyFastError: it was certainly not accepted, or the call is free.
    """
    if not response.is_success:
        raise _refusal(call, response, settings)
    try:
        result = _parsed(call, response, settings)
    except AnyFastError as error:
        refused = isinstance(error, APIError) and is_known_refusal(parse_error_response(response), call)
        if refused or not call.billed:
            raise
        raise _lost(error, call, response, settings) from error
    if call.billed:
        # Before anything else can fail: this line is enough to find what was paid for.
        log.info("%s: AnyFast accepted it as %s (request id %s).", call.name, result, _request_id(response) or "none")
    return result


def read_failure(call: Call[Any], failure: Exception, exchange: Exchange, settings: Settings) -> AnyFastError:
    """The error for ``failure``, which httpx or a library below it raised in place of a response."""
    reason = redact(f"{type(failure).__name__}: {failure}".rstrip(": ."), settings.api_key)
    if not exchange.sent and (isinstance(failure, _NEVER_SENT) or exchange.certainly_not_sent):
        hint = _tls_hint(settings.base_url) if exchange.failed_in_tls and "CERTIFICATE" not in reason else ""
        return ConnectionFailedError(f"{call.name}: {settings.base_url} could not be reached: {reason}.{hint}")
    if call.billed:
        if exchange.body is not None:
            _log_received(call, exchange.body.start(), settings)
        return LostAnswerError(f"{call.name}: the request was sent, but its response was lost: {reason}.")
    return NoAnswerError(f"{call.name}: no response from {settings.base_url}: {reason}.")


def _tls_hint(base_url: str) -> str:
    """Suggests http, but only for hosts with an explicit port: the key must not go to a public host unencrypted."""
    if httpx.URL(base_url).port is None:
        return ""
    plain = base_url.replace("https://", "http://", 1)
    return f" The host does not seem to speak TLS. Did you mean {plain}?"


def _parsed(call: Call[ResultT], response: httpx.Response, settings: Settings) -> ResultT:
    request_id = _request_id(response)
    try:
        body = _decoded(response)
    except (ValueError, RecursionError):
        kind = "a response that is not JSON" if response.content.strip() else "an empty response"
        raise UnexpectedAnswerError(
            f"{call.name}: AnyFast sent {kind} with HTTP {response.status_code} (request id {request_id or 'none'}).",
            request_id=request_id,
        ) from None
    if _holds_error(body):
        raise error_from_response(response, call, settings.api_key)
    return call.parse(body)


def _decoded(response: httpx.Response) -> Any:
    """The JSON of a response. Its ids and links are ASCII, so a text in another encoding does not make it unusable.

    Raises:
        ValueError, RecursionError: it is not JSON.
    """
    try:
        return decode_json(response.content)
    except UnicodeDecodeError:
        return decode_json(response.text)


def _refusal(call: Call[Any], response: httpx.Response, settings: Settings) -> AnyFastError:
    """The error for a response whose status is not 2xx.

    Sites under maintenance, ingresses and firewalls send redirects and pages for a while. A free call is retried until
    that ends; a billed one was not accepted, and fails.
    """
    base_url = settings.base_url
    refusal = parse_error_response(response)
    error: AnyFastError = error_from_response(response, call, settings.api_key)
    if call.billed and not _was_refused(call, refusal):
        return _lost(error, call, response, settings)
    if response.is_redirect:
        to = _location(response, settings) or "an address that it does not name"
        what, advice = f"{call.name}: {base_url} redirects to {to}.", "Set the connection's host to that address."
    elif refusal.is_json or error.retryable or refusal.status in _DECISIVE:
        return error
    else:
        what = f"{error.what} That is not AnyFast's JSON: something in between sent it, or {base_url} is not AnyFast."
        advice = "Check the connection's host and proxy, and clear the task."
    if call.billed:
        return ConfigurationError(what, advice=advice, **_facts(error))
    return NoAnswerError(what, advice=f"If the error persists: {advice}", **_facts(error))


def _was_refused(call: Call[Any], refusal: ErrorResponse) -> bool:
    if 300 <= refusal.status < 500:  # noqa: PLR2004 - HTTP's classes of statuses
        return refusal.status not in _PROVE_NOTHING
    return is_known_refusal(refusal, call)


def _holds_error(body: Any) -> bool:
    """Whether a response with HTTP 200 contains an error, as the upstream or the gateway sends it."""
    if not isinstance(body, dict) or body.keys() & {"Id", "id", "task_id", "status", "Items"}:
        return False
    metadata, code = body.get("ResponseMetadata"), body.get("code")
    has_failed = body.get("success") is False or (isinstance(code, str) and code.lower() not in _SUCCESS_CODES)
    return bool(
        body.get("error")
        or (isinstance(metadata, dict) and metadata.get("Error"))
        or (has_failed and not body.get("data"))
    )


_SUCCESS_CODES = ("", "success", "ok")


def _lost(error: AnyFastError, call: Call[Any], response: httpx.Response, settings: Settings) -> LostAnswerError:
    """The error for a billed call of which it is unknown whether it was accepted; logs all that may name an id."""
    _log_received(call, f"HTTP {response.status_code} {response.headers.get('location', '')} {response.text}", settings)
    lost = LostAnswerError(f"{error.what} That does not prove that AnyFast refused it.", **_facts(error))
    lost.__cause__ = error
    return lost


def _log_received(call: Call[Any], text: str, settings: Settings) -> None:
    log.warning(
        "%s: the response has no usable id. All of it, in case it names what was accepted: %s",
        call.name,
        redact(text[:_LOGGED], settings.api_key),
    )


def _location(response: httpx.Response, settings: Settings) -> str:
    return redact(response.headers.get("location", ""), settings.api_key)


def _facts(error: AnyFastError) -> dict[str, Any]:
    return {
        "status": error.status,
        "code": error.code,
        "request_id": error.request_id,
        "retry_after": error.retry_after,
    }


def _request_id(response: httpx.Response) -> str:
    return redact(response.headers.get("x-oneapi-request-id", ""))
