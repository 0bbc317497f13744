"""What a response, or a missing one, proves. The only module that decides whether a billed call was accepted.

========================= ============================================================== =========================
Received                  What it proves about a billed call                             Result or error
========================= ============================================================== =========================
2xx with an id            accepted                                                       the id
connection never made     certainly not accepted: no byte of the request was sent        ConnectionFailedError
connection broke early    certainly not accepted: the request's body is incomplete       ConnectionFailedError, or that
                                                                                         of an early response
4xx with AnyFast's JSON   certainly not accepted, unless its code means that the         the refusal's own class
                          gateway failed later (``error_parsing``)
3xx or 4xx without it     certainly not accepted if HTTP defines the status by the       ConfigurationError, or that
                          request alone (``_BY_THE_REQUEST_ALONE``)                      of the status (413, 429)
5xx, 2xx with an error    certainly not accepted if the contract knows the words as a    the refusal's own class
                          refusal (``error_parsing.is_known_refusal``)
anything else, nothing    unknown: it may have been accepted and billed                  LostAnswerError
========================= ============================================================== =========================

What is not AnyFast's JSON comes from something in between: an ingress, a proxy, a firewall. Most of them judge the
request, before they pass it on. Firewalls and content filters also judge the response, and replace it, usually with
403, 406, 418 or 451: AnyFast may have accepted the request by then. 408 and 499 mean that one side stopped waiting, and
303 points to the outcome of something that was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_anyfast.client.body import decode_json
from airflow_provider_anyfast.client.error_parsing import (
    ErrorResponse,
    came_after_acceptance,
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
_BY_THE_REQUEST_ALONE = frozenset(
    {301, 302, 307, 308, 400, 401, 404, 405, 407, 411, 413, 414, 415, 417, 421, 426, 429, 431, 511}
)
"""HTTP statuses that are about the request's address, method, syntax, size, headers, credentials or rate (RFC 9110,
RFC 6585), so whatever sends them has not passed the request on."""
_STOPPED_WAITING = (408, 499)
_TOO_LARGE = 413


def read_response(call: Call[ResultT], response: httpx.Response, exchange: Exchange, settings: Settings) -> ResultT:
    """The typed result.

    Raises:
        LostAnswerError: ``call`` is billed, and the response does not prove whether it was accepted.
        AnyFastError: it was certainly not accepted, or the call is free.
    """
    if not response.is_success:
        raise _refusal(call, response, exchange, settings)
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
    if exchange.is_cut and exchange.body is None:
        return ConnectionFailedError(f"{call.name}: the connection broke before the whole request was sent: {reason}.")
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


def _refusal(call: Call[Any], response: httpx.Response, exchange: Exchange, settings: Settings) -> AnyFastError:
    """The error for a response whose status is not 2xx.

    Sites under maintenance, ingresses and firewalls send redirects and pages for a while. A free call is retried until
    that ends; a billed one was not accepted, and fails.
    """
    base_url = settings.base_url
    refusal = parse_error_response(response)
    error: AnyFastError = error_from_response(response, call, settings.api_key)
    if call.billed and not exchange.is_cut and not _was_refused(call, refusal):
        return _lost(error, call, response, settings)
    if response.is_redirect:
        to = _location(response, settings) or "an address that it does not name"
        what, advice = f"{call.name}: {base_url} redirects to {to}.", "Set the connection's host to that address."
    elif refusal.is_json or error.retryable or refusal.status == _TOO_LARGE:
        return error
    else:
        what = f"{error.what} That is not AnyFast's JSON: something in between sent it, or {base_url} is not AnyFast."
        advice = "Check the connection's host and proxy, and clear the task."
    if call.billed:
        return ConfigurationError(what, advice=advice, **_facts(error))
    return NoAnswerError(what, advice=f"If the error persists: {advice}", **_facts(error))


def _was_refused(call: Call[Any], refusal: ErrorResponse) -> bool:
    if came_after_acceptance(refusal):
        return False
    if refusal.status in _BY_THE_REQUEST_ALONE:
        return True
    if 400 <= refusal.status < 500:  # noqa: PLR2004 - HTTP's class of refusals
        return refusal.is_json and refusal.status not in _STOPPED_WAITING
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
    is_page = response.is_client_error and not parse_error_response(response).is_json
    is_page &= response.status_code not in _STOPPED_WAITING
    sender = _FROM_A_FILTER.format(base_url=settings.base_url) if is_page else ""
    lost = LostAnswerError(f"{error.what} That does not prove that AnyFast refused it.{sender}", **_facts(error))
    lost.__cause__ = error
    return lost


_FROM_A_FILTER = (
    " It is not AnyFast's JSON, but comes from a firewall or a proxy, which blocked the request or the response. If it "
    "blocks all of {base_url}, AnyFast has received nothing."
)


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
