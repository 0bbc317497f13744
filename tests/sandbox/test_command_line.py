"""The command, as a separate process and in this one."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.sandbox import __main__ as command
from airflow_provider_anyfast.sandbox.server import serve_in_thread
from scripts.processes import wait_until
from tests.sandbox.client import Client, fetch, ok_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = "AnyFast sandbox ready on "


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process, and the address of its ready line."""
    arguments = [sys.executable, "-m", "airflow_provider_anyfast.sandbox", "--port", "0", *options]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(READY)
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_stopped_and_leaves_no_files(
    stop: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running("--api-key", "a=studio", "--api-key", "my-own-key", "--completion-seconds", "0") as (process, url):
        client = Client(url, "my-own-key")
        with client.http:
            link = client.task(client.generate(resolution="480p"))["result_url"]
            assert fetch(link).status_code == 200
            assert [key["account"] for key in ok_json(client.http.get("/account"))["accounts"]] == [
                "studio",
                "account-2",
            ]
            assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(stop)
        assert process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def settings_of(*options: str) -> dict[str, object]:
    parsed = command._parser().parse_args(options)
    return command._settings(parsed).model_dump(exclude_unset=True)


def test_options_that_are_not_given_keep_their_defaults() -> None:
    assert settings_of() == {}


def test_every_option_arrives_in_the_settings() -> None:
    chosen = settings_of(
        "--models", "seedance", "wan2.7-t2v", "--completion-seconds", "1.5", "--completion-spread", "0.2",
        "--asset-seconds", "0", "--asset-index-seconds", "3", "--quota-tokens", "1000", "--link-hours", "0.5",
        "--submit-status", "queued", "--unknown-task", "404", "--no-require-group-type", "--fail-reason-copies-url",
        "--group-index-seconds", "4", "--allow-host", "sandbox.internal", "--billing-pages", "on",
        "--billing-log-ids", "--billing-log-delay", "5", "--billing-log-foreign", "2", "--clock-ahead", "-90",
        "--result-url-on-failure", "reason", "--query-shape", "flat",
        "--fault", "rate_limited:retry_after=5,times=3", "--fault", "drop_answer",
    )  # fmt: skip

    faults = chosen.pop("faults")
    assert isinstance(faults, tuple)
    assert [fault["name"] for fault in faults] == ["rate_limited", "drop_answer"]
    assert (faults[0]["retry_after"], faults[0]["times"]) == (5, 3)
    assert chosen == {
        "models": ("seedance", "wan2.7-t2v"),
        "completion_seconds": 1.5,
        "completion_spread": 0.2,
        "asset_seconds": 0,
        "asset_index_seconds": 3,
        "group_index_seconds": 4,
        "allowed_hosts": ("sandbox.internal",),
        "billing_pages": "on",
        "billing_log_ids": True,
        "billing_log_delay": 5,
        "billing_log_foreign": 2,
        "clock_ahead": -90,
        "quota_tokens": 1000,
        "link_hours": 0.5,
        "submit_status": "queued",
        "unknown_task": 404,
        "require_group_type": False,
        "fail_reason_copies_url": True,
        "result_url_on_failure": "reason",
        "query_shape": "flat",
    }


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--completion-spread", "2"], "completion_spread: Input should be less than or equal to 1"),
        (["--quota-tokens", "many"], "quota_tokens: Input should be a valid integer"),
        (["--fault", "earthquake"], "there is no fault 'earthquake'"),
        (["--fault", "slow:times"], "'times' is not of the form key=value"),
        (["--port", "70000"], "'70000' is not a port, 0 to 65535"),
        (["--api-key", "=studio"], "--api-key"),
        (["--api-key", "a", "--api-key", "a"], "an API key is given twice"),
        (["--query-shape", "round"], "invalid choice: 'round'"),
    ],
)
def test_a_bad_option_is_named(options: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(options)

    assert caught.value.code == 2
    assert part in capsys.readouterr().err


def test_a_missing_extra_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("av", "PIL") else find_spec(name))

    with pytest.raises(SystemExit) as caught:
        command.main([])
    assert caught.value.code == "The sandbox needs av, PIL: install airflow-provider-anyfast[sandbox]."


def test_a_port_in_use_is_an_error_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as caught:
            command.main(["--port", str(port)])

    assert str(caught.value.code).startswith(
        f"The sandbox cannot be served on 127.0.0.1:{port}: Address already in use"
    )


def test_the_command_runs_in_this_process_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own_thread = threading.main_thread().ident
    assert own_thread is not None
    videos = tmp_path / "cache" / "anyfast-sandbox-videos"

    def stop_when_it_serves() -> None:
        wait_until(videos.exists, "the sandbox's folder", seconds=60, pause=0.01)
        signal.pthread_kill(own_thread, signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_it_serves)
    stopper.start()
    command.main(["--port", "0", "--cache-dir", str(tmp_path / "cache")])
    stopper.join()
    assert capsys.readouterr().out.startswith(READY + "http://127.0.0.1:")
    assert list((tmp_path / "cache").iterdir()) == [videos]


def test_an_ipv6_address_is_written_in_brackets() -> None:
    with serve_in_thread(host="::1") as served:
        assert served.url.startswith("http://[::1]:")
        assert fetch(f"{served.url}/account").status_code == 200


def test_importing_the_package_imports_none_of_its_dependencies() -> None:
    code = (
        "import sys, airflow_provider_anyfast.sandbox;"
        "print([name for name in ('av', 'PIL', 'fastapi', 'uvicorn', 'pydantic', 'airflow') if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
