"""Every DAG in the README and the docs runs against the sandbox, task by task."""

from __future__ import annotations

import dataclasses
import json
import wave
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor
from PIL import Image

from airflow_provider_anyfast import exceptions
from tests.support.installed_airflow import HAS_STATE_STORE, DagBag
from tests.support.metadata import TaskKey, XComKey
from tests.support.snippets import DOCS, SNIPPETS, Snippet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import DAG

    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

WITH_DAGS = [snippet for snippet in SNIPPETS if snippet.has_dags]
NEEDS_3_3 = {"patient"}
"""DAGs whose page says that they need Airflow 3.3."""
ANSWER = {"chosen_options": ["Approve"], "params_input": {}}
"""A person's response to a DAG's question."""
FILLED_BY_EVENTS = {"publish_daily_video"}
"""DAGs that only events start; other tests run them."""


class Place:
    """A folder that replaces the buckets and folders of the pages, with the files that they expect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number, name in enumerate(["pictures/lamp.png", "pictures/boat.png", "shop/pictures/cup.png"]):
            for root in ("s3", "data"):
                file = folder / root / name
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (400, 400), (40 * number, 90, 120)).save(file)
        with wave.open(str(folder / "data" / "voice.mp3"), "wb") as voice:
            voice.setparams((1, 2, 8000, 0, "NONE", ""))
            voice.writeframes(bytes(3 * 2 * 8000))
        for name in ("products", "part-1", "part-2"):
            table = folder / "s3" / "tables" / f"{name}.csv"
            table.parent.mkdir(exist_ok=True)
            pictures = folder / "s3" / "pictures"
            table.write_text(
                "sku,name,seconds,picture\n"
                f"{name[-1]}1001,Paper boat,4,{pictures}/boat.png\n1002,Desk lamp,6,{pictures}/lamp.png\n"
            )

    def dags(self, snippet: Snippet) -> dict[str, DAG]:
        """Parsed anew, as on every worker; a task renders its templates in place."""
        text = snippet.text.replace("s3://aws_default@", f"{self.folder}/s3/")
        text = text.replace('"/data/', f'"{self.folder}/data/')
        file = self.folder / "dags" / "guide.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        bag = DagBag(str(file))
        assert not bag.import_errors
        return bag.dags


@dataclasses.dataclass
class GuideRun:
    """Runs of the DAGs of a snippet, each under a run id of its own."""

    place: Place
    snippet: Snippet
    runner: TaskRunner
    number: int = 0

    def dag(self, dag_id: str) -> Iterator[Attempt]:
        """Runs every task, each after those upstream."""
        runner = self.runner = self.runner.fresh()
        self.number += 1
        runner.metadata.run_id = f"manual__2026-01-{self.number:02}T00:00:00+00:00"
        for task in self.place.dags(self.snippet)[dag_id].topological_sort():
            task_id = task.task_id
            if task.task_type == "ApprovalOperator":
                runner.push_xcom(task_id, ANSWER)
                continue
            if task.task_type == "ReviewVideosOperator":
                yield self._reviewed(task_id, dag_id)
                continue
            for map_index in self._map_indexes(task):
                yield runner.run_to_end(
                    lambda task_id=task_id: self.place.dags(self.snippet)[dag_id].get_task(task_id),  # type: ignore[misc]
                    map_index=map_index,
                )
            if task.is_mapped:
                ended = [runner.metadata.xcoms_of(TaskKey(task_id, index)) for index in self._map_indexes(task)]
                runner.push_xcom(task_id, [xcoms.get("return_value") for xcoms in ended])

    def _reviewed(self, task_id: str, dag_id: str) -> Attempt:
        """A person approves the last video."""

        def make() -> Any:
            return self.place.dags(self.snippet)[dag_id].get_task(task_id)

        waiting = self.runner.attempt(make, run_trigger=False)
        self.runner.answer(make().APPROVE, videos=waiting.xcoms["review"]["videos"][-1:], notes={})
        return self.runner.run_to_end(make)

    def _map_indexes(self, task: Any) -> range:
        if not task.is_mapped:
            return range(-1, 0)
        for upstream in task.iter_mapped_dependencies():
            values: Any = self.runner.metadata.xcoms[XComKey(TaskKey(upstream.task_id, -1), "return_value")]
            return range(len(values))
        (values,) = task.expand_input.value.values()
        return range(len(values))


@pytest.mark.parametrize("snippet", WITH_DAGS, ids=str)
def test_the_dags_of_a_page_succeed(snippet: Snippet, runner: TaskRunner, tmp_path: Path) -> None:
    run = GuideRun(Place(tmp_path), snippet, runner)
    if not HAS_STATE_STORE and any(f'"{name}"' in snippet.text for name in NEEDS_3_3):
        pytest.skip("its page says that it needs Airflow 3.3")
    dag_ids = run.place.dags(snippet).keys() - FILLED_BY_EVENTS
    ended = [attempt for dag_id in sorted(dag_ids) for attempt in run.dag(dag_id)]
    assert ended
    for attempt in ended:
        assert attempt.state == "success", attempt.log_text


def snippet_of(page: str, dag_id: str) -> Snippet:
    (found,) = (snippet for snippet in WITH_DAGS if snippet.page.stem == page and f'DAG("{dag_id}"' in snippet.text)
    return found


@pytest.mark.parametrize("folder", ["operators", "sensors", "recipes"])
def test_every_guide_and_recipe_has_an_example(folder: str) -> None:
    guides = {page for page in (DOCS / folder).glob("*.md") if page.name != "index.md"}
    assert guides <= {snippet.page for snippet in WITH_DAGS}


def test_only_rows_without_a_file_are_generated(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    run = GuideRun(Place(tmp_path), snippet_of("only_new_rows", "nightly"), runner)
    list(run.dag("nightly"))
    assert sandbox.billed.generations == 2
    with (tmp_path / "s3" / "tables" / "products.csv").open("a") as table:
        table.write("1003,Kettle,4,\n")
    (night,) = run.dag("nightly")
    assert (night.result["succeeded"], night.result["skipped"]) == (1, 2)
    assert sandbox.billed.generations == 3


def test_pictures_of_a_table_are_paid_for_once(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    run = GuideRun(Place(tmp_path), snippet_of("table_with_pictures", "products_with_pictures"), runner)
    with (tmp_path / "s3" / "tables" / "products.csv").open("a") as table:
        table.write(f"1003,Another lamp,4,{tmp_path}/s3/pictures/lamp.png\n")
    list(run.dag("products_with_pictures"))
    list(run.dag("products_with_pictures"))
    assert (sandbox.billed.assets, sandbox.billed.generations) == (2, 6)


def test_only_what_was_approved_becomes_a_final(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    run = GuideRun(Place(tmp_path), snippet_of("approval", "approved_products"), runner)
    list(run.dag("approved_products"))
    finals = [generation.prompt for generation in sandbox.account().generations if "1080p" in str(generation.request)]
    assert finals == ["A slow turn around Desk lamp."]


def test_the_contact_sheet_plays_the_videos_beside_it(runner: TaskRunner, tmp_path: Path) -> None:
    run = GuideRun(Place(tmp_path), snippet_of("contact_sheet", "with_contact_sheet"), runner)
    (videos,) = run.dag("with_contact_sheet")
    assert videos.state == "success", videos.log_text
    (page,) = tmp_path.glob("s3/videos/*/report.html")
    assert 'data-src="1002.mp4"' in page.read_text()
    assert page.with_name("report.csv").read_text().count("SUCCESS") == 2


@pytest.mark.parametrize(
    ("fault", "phrases"),
    [
        ("moderation", ["with_alert.video failed with ModerationError", "not billed", "Change the prompt"]),
        ("drop_answer", ["Check the AnyFast console", "LostSubmissionError", "A video may have been billed."]),
    ],
)
def test_a_failure_is_posted_to_chat(
    fault: str,
    phrases: list[str],
    runner: TaskRunner,
    sandbox: SandboxHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr("httpx.post", lambda url, json, timeout: told.append((url, json["text"])))
    sandbox.fault(fault, times=0)
    chat = Connection(conn_id="chat", conn_type="http", password="https://chat.example/hook")
    run = GuideRun(
        Place(tmp_path),
        snippet_of("chat_alert", "with_alert"),
        dataclasses.replace(runner, connections=[*runner.connections, chat]),
    )
    (ended,) = run.dag("with_alert")
    assert isinstance(ended.error, exceptions.AnyFastError)
    ((url, text),) = told
    assert url == "https://chat.example/hook"
    for phrase in phrases:
        assert phrase in text


def test_a_consumer_finds_the_videos_whose_events_it_missed(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    run = GuideRun(Place(tmp_path), snippet_of("new_video_events", "make_catalogue"), runner)
    list(run.dag("make_catalogue"))
    announced = [report for report in run.runner.metadata.outlet_reports if report.outlets]
    assert len(announced) == 1, "one event for the run"
    folder = tmp_path / "s3" / "videos" / "catalogue"
    list(run.dag("publish_catalogue"))
    assert {path.stem for path in folder.glob("*.json")} == {path.stem for path in folder.glob("*.mp4")}
    (found, *_) = run.dag("publish_catalogue")
    assert found.result == [], "what is published stays so"
    assert sandbox.billed.generations == 2


def test_a_consumer_of_one_video_reads_its_facts(
    runner: TaskRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snippet = snippet_of("new_video_events", "make_daily_video")
    run = GuideRun(Place(tmp_path), snippet, runner)
    (made,) = run.dag("make_daily_video")
    assert made.outlet_report is not None
    (event,) = made.outlet_report.events
    consumer: Any = run.place.dags(snippet)["publish_daily_video"]
    (asset,) = consumer.timetable.asset_condition.objects
    happened: Any = SimpleNamespace(asset=asset, source_aliases=[], extra=event["extra"])
    capsys.readouterr()
    consumer.get_task("publish").python_callable(TriggeringAssetEventsAccessor.build([happened]))
    assert capsys.readouterr().out == f"{event['extra']['uri']} {event['extra']['generation_id']}\n"


def test_the_batch_of_its_guide_writes_the_manifest_of_its_guide(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    of_page = {s.kind: s for s in reversed(SNIPPETS) if s.page.stem == "generate_video_batch"}
    run = GuideRun(Place(tmp_path), of_page["python"], runner)
    (tmp_path / "s3" / "tables" / "products.csv").write_text(of_page["csv"].text)
    sandbox.fault("moderation", match="Desk lamp", times=0)

    (attempt,) = run.dag("products")
    assert isinstance(attempt.error, exceptions.BatchRejectedError), attempt.log_text
    (manifest,) = tmp_path.rglob("manifest.jsonl")
    written = [json.loads(line) for line in manifest.read_text().splitlines()]
    told = [json.loads(line) for line in of_page["jsonl"].text.splitlines()]
    assert [list(line) for line in written] == [list(line) for line in told]
    for line, as_told in zip(written, told, strict=True):
        for name in ("row", "input", "status", "error_type", "retryable", "model", "prompt", "duration", "usage"):
            assert line.get(name) == as_told.get(name)
