"""Airflow authorizes the user of every route, which only opens files that a task of that run has stored."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

import pytest
from airflow.api_fastapi.core_api import security
from airflow.models.dag import DagModel
from fastapi.testclient import TestClient

from airflow_provider_anyfast.batch.manifest import ManifestEntry
from airflow_provider_anyfast.batch.report_file import ReportFile
from airflow_provider_anyfast.links.page import served_as
from airflow_provider_anyfast.plugins import routes
from airflow_provider_anyfast.plugins.airflow_records import TaskRecord
from airflow_provider_anyfast.plugins.videos import AnyFastVideosPlugin, VideosApp

if TYPE_CHECKING:
    from pathlib import Path

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(1000)
RUN = "manual__2026-01-01T00:00:00+00:00"
PAGES = ("", "page.css", "page.js", "videos", "videos/0/file", "videos/0/poster", "files/x")


class AuthManager:
    """Ann may read the DAG ``ours``; Bob may read no DAG."""

    async def get_user_from_token(self, token: str) -> Any:
        return SimpleNamespace(name=token)

    def is_authorized_dag(self, *, method: str, access_entity: Any, details: Any, user: Any) -> bool:
        return user.name == "ann" and details.id == "ours" and method == "GET" and access_entity is not None


@pytest.fixture
def stored(tmp_path: Path) -> dict[tuple[str, str], list[TaskRecord]]:
    (tmp_path / "1.mp4").write_bytes(MP4)
    result = {"generation_id": "g1", "prompt": "<script>alert(1)</script>", "path": str(tmp_path / "1.mp4")}
    passwd = {"generation_id": "g2", "prompt": "x", "path": "/etc/passwd", "last_frame_path": "/etc/passwd"}
    return {
        ("ours", RUN): [
            TaskRecord("video", -1, "success", {"generation_id": "g1", "return_value": result}),
            TaskRecord("evil", -1, "success", {"generation_id": "g2", "return_value": passwd}),
        ]
    }


@pytest.fixture
def client(stored: dict[tuple[str, str], list[TaskRecord]], monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setattr(security, "get_auth_manager", AuthManager)
    monkeypatch.setattr(DagModel, "get_team_name", lambda dag_id: None)
    monkeypatch.setattr(routes, "task_records", lambda *run: stored.get(run, []))
    monkeypatch.setattr(routes, "run_state", lambda *run: "running" if run in stored else None)
    return TestClient(VideosApp(), raise_server_exceptions=False)


def address(page: str, dag_id: str = "ours", run_id: str = RUN) -> str:
    return f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/{page}"


def get(client: TestClient, page: str, user: str = "ann", **headers: str) -> Any:
    return client.get(address(page), headers={"Authorization": f"Bearer {user}", **headers})


@pytest.mark.parametrize("page", PAGES)
def test_a_user_without_the_right_to_the_dag_gets_nothing(client: TestClient, page: str) -> None:
    assert get(client, page, user="bob").status_code == 403
    assert client.get(address(page)).status_code == 401
    theirs = client.get(address(page, dag_id="theirs"), headers={"Authorization": "Bearer ann"})
    assert theirs.status_code == 403


def test_every_route_is_tested() -> None:
    app = routes.make_app()
    paths: list[str] = [route.path for route in app.routes]  # type: ignore[attr-defined]
    tails = {path.partition("/runs/{run_id}/")[2].replace("{video_id}", "0") for path in paths}
    assert {tail.replace("{place:path}", "x") for tail in tails} == set(PAGES)


def test_another_dag_in_the_query_does_not_help(client: TestClient) -> None:
    page = f"{address('videos', dag_id='theirs')}?dag_id=ours"
    assert client.get(page, headers={"Authorization": "Bearer ann"}).status_code == 403


def test_the_list_contains_the_videos_as_data(client: TestClient) -> None:
    response = get(client, "videos")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["videos"][0]["prompt"] == "<script>alert(1)</script>"
    assert "<script>alert" not in get(client, "").text


def test_a_run_that_does_not_exist_is_not_found(client: TestClient) -> None:
    response = client.get(address("videos", run_id="none"), headers={"Authorization": "Bearer ann"})
    assert response.status_code == 404


def test_a_video_can_be_played_with_seeking(client: TestClient) -> None:
    video = next(video for video in get(client, "videos").json()["videos"] if video["task_id"] == "video")
    page = f"videos/{video['id']}/file"
    whole = get(client, page)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, MP4, "video/mp4")
    part = get(client, page, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, MP4[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(MP4)}"
    assert get(client, page, Range="bytes=9999-").status_code == 416
    assert get(client, page, **{"Accept-Encoding": "gzip"}).headers["content-encoding"] == "identity"


def test_a_stored_path_of_something_else_is_not_opened(client: TestClient) -> None:
    evil = next(video for video in get(client, "videos").json()["videos"] if video["task_id"] == "evil")
    for kind in ("file", "poster"):
        response = get(client, f"videos/{evil['id']}/{kind}")
        assert response.status_code == 404
        assert "root:" not in response.text


@pytest.mark.parametrize("video", ["..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "0" * 24, "..", "s3:%2f%2fbucket%2fx"])
def test_no_path_of_a_request_is_opened(client: TestClient, video: str) -> None:
    assert get(client, f"videos/{video}/file").status_code == 404


def test_a_video_of_another_run_is_not_found(
    client: TestClient, stored: dict[tuple[str, str], list[TaskRecord]]
) -> None:
    video = get(client, "videos").json()["videos"][0]
    stored["ours", "other"] = []
    other = client.get(address(f"videos/{video['id']}/file", run_id="other"), headers={"Authorization": "Bearer ann"})
    assert other.status_code == 404


def test_a_report_is_served_with_its_linked_files_and_runs_only_its_own_script(
    client: TestClient, stored: dict[tuple[str, str], list[TaskRecord]], tmp_path: Path
) -> None:
    (tmp_path / "reports").mkdir()
    report = ReportFile(str(tmp_path / "reports" / "index.html"), "A run")
    report.write([ManifestEntry(1, "", "", 1, {"id": "lamp"}, "SUCCESS", result={"path": f"{tmp_path}/1.mp4"})])
    stored["ours", RUN] += [TaskRecord("report", -1, "success", {"report_path": report.path})]

    place = f"files/{served_as(report.path)}"
    shown = get(client, place)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'sha256-" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "private, no-cache"
    links = re.findall(r'(?:data-src|href)="([^"]+)"', shown.text)
    assert {"index.csv", "../1.mp4"} <= set(links)
    for link, start in (("index.csv", b"row,status,"), ("../1.mp4", MP4)):
        assert get(client, urljoin(place, link)).content.startswith(start)


def test_only_real_reports_and_stored_files_are_served(
    client: TestClient, stored: dict[tuple[str, str], list[TaskRecord]], tmp_path: Path
) -> None:
    (tmp_path / "other.html").write_text("<!DOCTYPE html>\n<script>alert(1)</script>")
    stored["ours", RUN] += [
        TaskRecord(path, -1, "", {"report_path": path}) for path in ("/etc/passwd.html", "/etc/passwd")
    ]
    stored["ours", RUN] += [TaskRecord("other", -1, "", {"report_path": str(tmp_path / "other.html")})]
    for path in ("/etc/passwd", "/etc/passwd.csv", str(tmp_path / "other.html"), str(tmp_path / "secret.mp4")):
        assert get(client, f"files{path}").status_code == 404


@pytest.mark.parametrize(("page", "user"), [("", "ann"), ("videos", "ann"), ("videos", "bob"), ("nothing", "ann")])
def test_every_response_has_a_strict_policy(client: TestClient, page: str, user: str) -> None:
    headers = get(client, page, user=user).headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_the_plugin_shows_a_tab_for_runs_and_tasks() -> None:
    assert [view["destination"] for view in AnyFastVideosPlugin.external_views] == ["dag_run", "task_instance"]
    assert AnyFastVideosPlugin.fastapi_apps[0]["url_prefix"] == "/anyfast"
