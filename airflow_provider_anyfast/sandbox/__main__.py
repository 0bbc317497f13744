"""The command ``anyfast-sandbox``."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from argparse import BooleanOptionalAction
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from airflow_provider_anyfast.sandbox.faults import FAULT_KINDS, Fault
from airflow_provider_anyfast.sandbox.settings import ApiKey, SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEEDED = ("av", "fastapi", "PIL", "python_multipart", "uvicorn")
_LAST_PORT = 65_535
_OF_THE_SERVER = ("host", "port", "cache_dir")
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_DESCRIPTION = """\
A local AnyFast: the same HTTP interface, real videos, an account of what was billed, and faults.
Point a connection's host at the printed address and use one of the keys as its password."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a sandbox until SIGINT or SIGTERM comes."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        sys.exit(f"The sandbox needs {', '.join(missing)}: install airflow-provider-anyfast[sandbox].")
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        settings = _settings(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        parser.error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    _serve(settings, chosen.host, chosen.port, chosen.cache_dir)


def _serve(settings: SandboxSettings, host: str, port: int, cache_dir: Path | None) -> None:
    from airflow_provider_anyfast.sandbox.server import serve_in_thread  # noqa: PLC0415 - it needs the extra's packages

    # The signals are blocked before any thread starts, so that only this thread receives them, in sigwait.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        with serve_in_thread(settings, host=host, port=port, cache_dir=cache_dir) as served:
            sys.stdout.write(f"AnyFast sandbox ready on {served.url}\n")
            sys.stdout.flush()
            signal.sigwait(_STOP_SIGNALS)
    except OSError as error:
        sys.exit(f"The sandbox cannot be served on {host}:{port}: {error.strerror}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _settings(chosen: argparse.Namespace) -> SandboxSettings:
    """Return the settings that were given; the rest keeps its defaults."""
    given = {name: value for name, value in vars(chosen).items() if value is not None and name not in _OF_THE_SERVER}
    return SandboxSettings.model_validate(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "anyfast-sandbox",
        description=_DESCRIPTION,
        epilog="Faults: " + "; ".join(f"{name}: {kind.effect}" for name, kind in FAULT_KINDS.items()) + ".",
    )
    add = parser.add_argument
    add(
        "--host", default="127.0.0.1", help="address to serve on; the account pages ask for no key, so keep to loopback"
    )
    add("--port", type=_port, default=8765, help="0 takes any free one; the ready line says which")
    add("--cache-dir", type=Path, help="where uploads and rendered videos are kept (default: a temporary directory)")
    add(
        "--api-key",
        dest="api_keys",
        action="append",
        type=ApiKey.parse,
        metavar="KEY[=ACCOUNT]",
        help="a key that is accepted, repeatable (default: sandbox-key)",
    )
    add("--models", nargs="+", metavar="MODEL", help="the models of the keys' plan (default: all)")
    add("--completion-seconds", metavar="S", help="from submission to SUCCESS (default: 8)")
    add("--completion-spread", metavar="0..1", help="how much single videos differ from that (default: 0)")
    add("--asset-seconds", metavar="S", help="how long an asset is Processing (default: 2)")
    add("--asset-index-seconds", metavar="S", help="how long a new asset is not found (default: 0)")
    add("--group-index-seconds", metavar="S", help="how long a new group is not found (default: 0)")
    add("--billing-log-delay", metavar="S", help="how late a row is in the billing log (default: 0)")
    add("--billing-log-foreign", metavar="N", help="charges of other programs with each submission (default: 0)")
    add("--clock-ahead", metavar="S", help="how far the sandbox's clock is ahead; may be negative (default: 0)")
    add("--quota-tokens", metavar="N", help="what an account may spend (default: no limit)")
    add("--link-hours", metavar="H", help="the life of a result link (default: 24)")
    add(
        "--allow-host",
        dest="allowed_hosts",
        action="append",
        metavar="HOST",
        help="a host name under which the account pages answer, repeatable (default: localhost and --host)",
    )
    add(
        "--fault",
        dest="faults",
        action="append",
        type=_fault,
        metavar="NAME[:key=value,...]",
        help="something that goes wrong, repeatable; keys: on, times (0: always), skip, match, and the fault's own",
    )
    _add_contradictory_points(parser)
    return parser


def _add_contradictory_points(parser: argparse.ArgumentParser) -> None:
    """Add the options for points on which the sources about AnyFast disagree."""
    add = parser.add_argument_group("where the sources about AnyFast disagree").add_argument
    add("--submit-status", choices=("", "queued"), help="the status in the response to a submission (default: empty)")
    add("--unknown-task", type=int, choices=(400, 404), help="the response about an unknown task (default: 400)")
    add("--require-group-type", action=BooleanOptionalAction, help="refuse ListAssets without GroupType (default: yes)")
    add("--fail-reason-copies-url", action=BooleanOptionalAction, help="copy the link of a success to fail_reason")
    add("--result-url-on-failure", choices=("omit", "empty", "reason"), help="what a failure has there (default: omit)")
    add(
        "--billing-pages",
        choices=("off", "off-html", "unauthorized", "forbidden", "limited", "on"),
        help="whether a key can read its billing log and balance, or how it is refused (default: off)",
    )
    add("--billing-log-ids", action=BooleanOptionalAction, help="charges in the log name their task (default: no)")
    add("--query-shape", choices=("wrapper", "flat", "flat-content", "alibaba"), help="default: wrapper")


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to {_LAST_PORT}")
    return int(text)


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    main()
