"""The example DAGs, task by task under the real task runner against the sandbox; tests/e2e has a scheduler."""

from __future__ import annotations

import csv
import dataclasses
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from airflow_provider_anyfast import exceptions
from tests.support.installed_airflow import CAN_RESCHEDULE, HAS_STATE_STORE, DagBag
from tests.support.metadata import TaskKey

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

EXAMPLES = Path(__file__).parents[2] / "example_dags"
RUN_ID = "manual__2026-01-01T00:00:00+00:00"


def parsed(dag_id: str) -> DAG:
    """The DAG as every worker gets it: parsed anew, since a task renders its templates in place."""
    return DagBag(str(EXAMPLES / f"{dag_id}.py")).dags[dag_id]


class Run:
    """One run of one DAG."""

    def __init__(self, runner: TaskRunner, dag_id: str, **conf: Any) -> None:
        self.runner = dataclasses.replace(runner, run_conf=conf)
        self.dag_id = dag_id

    def task(self, task_id: str, map_index: int = -1) -> Attempt:
        """Run a task to its end."""
        return self.runner.run_to_end(lambda: parsed(self.dag_id).get_task(task_id), map_index=map_index)


class Batch(Run):
    """A run of anyfast_batch_from_table."""

    def __init__(self, runner: TaskRunner, folder: Path, **conf: Any) -> None:
        super().__init__(runner, "anyfast_batch_from_table", output_folder=str(folder), **conf)
        self.folder = folder / RUN_ID

    @property
    def report(self) -> list[dict[str, str]]:
        with (self.folder / "report.csv").open(newline="") as file:
            return list(csv.DictReader(file))


def test_the_table_that_is_shipped_becomes_videos_and_a_report(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    batch = Batch(runner, tmp_path)
    rows = batch.task("check").result
    assert [batch.task("video", number).state for number in range(len(rows))] == ["success"] * 3
    ended = batch.task("report")

    assert ended.state == "success", ended.log_text
    assert ended.result == str(batch.folder / "report.html")
    assert {file.name for file in batch.folder.iterdir()} == {
        *("lamp.mp4", "kettle.mp4", "bicycle.mp4", "report.csv", "report.html"),
    }
    assert [(row["input_id"], row["status"], row["ratio"]) for row in batch.report] == [
        ("lamp", "SUCCESS", "16:9"),
        ("kettle", "SUCCESS", "1:1"),
        ("bicycle", "SUCCESS", "9:16"),
    ]
    assert [row["file"] for row in batch.report] == [
        str(batch.folder / f"{row['input_id']}.mp4") for row in batch.report
    ]
    assert sum(int(row["tokens"]) for row in batch.report) == sandbox.billed.tokens
    assert 'data-src="bicycle.mp4"' in (batch.folder / "report.html").read_text()
    prompts = [generation.prompt for generation in sandbox.account().generations]
    assert "A short film: a green bicycle leans against a wall, and its bell rings." in prompts
    assert sandbox.billed.generations == 3


def test_the_report_has_what_each_row_cost_where_the_connection_has_a_price(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    extra = json.dumps({"price_per_million_tokens": "4.6"})
    connection = Connection(
        conn_id="anyfast_default", conn_type="anyfast", host=sandbox.url, password=sandbox.api_key, extra=extra
    )
    batch = Batch(dataclasses.replace(runner, connections=[connection]), tmp_path)
    batch.task("check")
    batch.task("video", 0)
    batch.task("report")
    row = batch.report[0]
    assert Decimal(row["cost"]) == pytest.approx(
        Decimal(row["tokens"]) * Decimal("4.6") / 1_000_000, abs=Decimal("0.0001")
    )
    assert f"cost {row['cost']}" in (batch.folder / "report.html").read_text()


def test_a_mapped_task_is_named_by_its_prompt(runner: TaskRunner, tmp_path: Path) -> None:
    batch = Batch(runner, tmp_path, prompt="{{ row.id }} " + 100 * "very " + "long")
    batch.task("check")
    batch.task("video", 0)
    name = batch.runner.metadata.task_instances[TaskKey("video", 0)].rendered_map_index
    assert name is not None
    assert name.startswith("lamp very")
    assert len(name) <= 80


def test_every_bad_row_is_named_and_nothing_is_paid(runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    rows = [{"id": "good", "a": 1}, {"id": "no a"}, {"id": "wide", "a": 1, "ratio": "99:1"}, {"id": "good", "a": 1}]
    table.write_text("\n".join(map(json.dumps, rows)))
    batch = Batch(runner, tmp_path, rows=str(table), prompt="{{ row.a }}")

    checked = batch.task("check")
    assert checked.state == "failed", "no retry cures a table"
    for phrase in (
        "3 of 4 rows",
        "prompt: there is no column 'a'; the columns are id: row 2 (line 2",
        "ratio='99:1' is not one of",
        "row 3 (line 3, id wide)",
        "output_path=",
        "row 4 (line 4, id good)",
        "Nothing was billed",
    ):
        assert phrase in str(checked.error)
    assert sandbox.billed.generations == 0

    ended = batch.task("report")
    assert ended.state == "failed", "a retry would not bring the rows, and a success would be one of the run"
    assert "rows='check': this task has pushed no rows" in str(ended.error)
    assert not batch.folder.exists()


def test_what_a_table_holds_is_not_taken_for_a_template(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    table = tmp_path / "rows.csv"
    text = "{{ conn.anyfast_default.password }} {% endraw %} \\' \\n {# ü 🎬"
    table.write_text(f"id,text\na,{text}\n")
    batch = Batch(runner, tmp_path, rows=str(table), prompt="{{ row.text }}")
    batch.task("check")
    assert batch.task("video", 0).state == "success"
    (generation,) = sandbox.account().generations
    assert generation.prompt == text


def test_failed_rows_are_reported_and_a_clear_makes_only_these(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("moderation", match="kettle")
    sandbox.fault("drop_answer", match="bicycle")
    batch = Batch(runner, tmp_path)
    batch.task("check")
    assert [batch.task("video", number).state for number in range(3)] == ["success", "failed", "failed"]
    ended = batch.task("report")

    assert ended.state == "failed", "or the run would be a success"
    assert "Failed rows (2 of 3): row 2 (id kettle), row 3 (id bicycle). See " in str(ended.error)
    assert [row["status"] for row in batch.report] == ["SUCCESS", "FAILURE", "LOST"]
    assert "billed" in batch.report[2]["error"]
    page = (batch.folder / "report.html").read_text()
    assert page.count("data-src=") == 1
    assert "1 of 3 videos ready" in page
    assert "copper kettle" in page, "a failed row shows what it was about"

    for key in (TaskKey("video", 1), TaskKey("video", 2), TaskKey("report")):
        batch.runner.metadata.task_instances[key].clear()
    assert [batch.task("video", number).state for number in (1, 2)] == ["success", "success"]
    assert batch.task("report").state == "success"
    assert [row["status"] for row in batch.report] == ["SUCCESS"] * 3
    assert [row["error"] for row in batch.report] == [""] * 3
    assert sandbox.billed.generations == 4, "one each, and the one whose answer was lost"


def test_a_row_whose_task_died_without_a_word_is_reported_as_failed(runner: TaskRunner, tmp_path: Path) -> None:
    batch = Batch(runner, tmp_path)
    batch.task("check")
    batch.task("video", 0)
    assert batch.task("report").state == "failed"
    assert [(row["status"], row["error"]) for row in batch.report][1:] == [("FAILURE", "See the log of its task.")] * 2


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (exceptions.RateLimitError("429"), timedelta(minutes=10)),
        (exceptions.GenerationTimeoutError("It is still being made."), timedelta(0)),
        (exceptions.ServerError("500"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_where_airflow_has_retry_policies_the_delay_follows_the_cause(
    error: Exception, delay: timedelta | None
) -> None:
    video: Any = parsed("anyfast_batch_from_table").get_task("video")
    policy = getattr(video, "retry_policy", None)
    assert (policy is not None) == HAS_STATE_STORE, "both came with Airflow 3.3"
    if policy:
        decision = policy.evaluate(error, 1, 3)
        assert decision.retry_delay == delay
        costs_no_retry = CAN_RESCHEDULE and isinstance(error, exceptions.RateLimitError)
        assert (decision.action.value == "reschedule") == costs_no_retry
    assert video.retry_delay == timedelta(minutes=1)


def test_each_video_of_the_table_tells_the_asset_that_the_second_dag_waits_for(
    runner: TaskRunner, tmp_path: Path
) -> None:
    batch = Batch(runner, tmp_path / "with blanks")
    batch.task("check")
    report = batch.task("video", 0).outlet_report
    assert report is not None
    (event,) = report.events
    assert event["extra"]["usage"]["total_tokens"] > 0

    waiting: Any = parsed("anyfast_on_new_video")
    (asset,) = waiting.timetable.asset_condition.objects
    assert event["dest_asset_key"] == {"name": asset.name, "uri": asset.uri}

    happened: Any = SimpleNamespace(
        asset=asset,
        source_aliases=[],
        extra=event["extra"],
        source_dag_id=batch.dag_id,
        source_run_id=RUN_ID,
    )
    params = {"write_files": True}
    context = {"triggering_asset_events": TriggeringAssetEventsAccessor.build([happened]), "params": params}
    with pytest.MonkeyPatch.context() as patch:
        note = waiting.get_task("note").python_callable
        patch.setitem(note.__globals__, "get_current_context", lambda: context)
        assert note() == [f"file://{batch.folder / 'lamp.mp4'}"]
        facts = json.loads((batch.folder / "lamp.mp4.json").read_text())
        assert facts == {**event["extra"], "dag_id": batch.dag_id, "run_id": RUN_ID}

        (batch.folder / "other.mp4").touch()  # its event comes with the next run
        other = f"file://{batch.folder / 'other.mp4'}"
        assert note() == [f"file://{batch.folder / 'lamp.mp4'}", other]
        assert json.loads((batch.folder / "other.mp4.json").read_text()) == {"uri": other}

        (batch.folder / "lamp.mp4.json").unlink()
        params["write_files"] = False
        note()
        assert not (batch.folder / "lamp.mp4.json").exists()


def test_the_second_dag_may_be_started_by_hand(runner: TaskRunner) -> None:
    run = Run(runner, "anyfast_on_new_video")
    ended = run.task("note")
    assert (ended.state, ended.result) == ("success", []), ended.log_text


def test_each_scene_begins_with_the_last_frame_of_the_one_before(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    run = Run(runner, "anyfast_character", output_folder=str(tmp_path))
    asset = {task_id: run.task(task_id).result for task_id in ("group", "picture")}["picture"]
    scenes = [run.task(f"scene_{number}") for number in (1, 2, 3)]

    assert [scene.state for scene in scenes] == ["success"] * 3, scenes[-1].log_text
    first_frames = [
        next(item["image_url"]["url"] for item in generation.request["content"] if item.get("role") == "first_frame")
        for generation in sorted(sandbox.account().generations, key=lambda generation: generation.submitted_at)
    ]
    assert first_frames == [f"asset://{asset}", *(scene.result["last_frame_url"] for scene in scenes[:2])]
    assert all("small red desk lamp" in scene.result["prompt"] for scene in scenes)
    assert {file.name for file in (tmp_path / RUN_ID).iterdir()} == {
        *(f"scene_{number}{ending}" for number in (1, 2, 3) for ending in (".mp4", ".last_frame.png")),
    }


def test_the_products_are_made_with_their_picture_and_the_next_night_pays_for_the_new_one_alone(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("id,product,scene,picture\na,a lamp,shines,lamp.png\nb,a lamp,turns,lamp.png\n")
    given = {"rows": str(table), "output_folder": str(tmp_path / "out")}
    first = Run(runner, "anyfast_products", **given).task("videos")
    assert first.state == "success", first.log_text
    assert (sandbox.billed.assets, sandbox.billed.generations) == (1, 2), "one picture, two videos"
    report = next((tmp_path / "out").glob("*.html"))
    assert 'data-src="a.mp4" data-poster="a.poster.jpg"' in report.read_text()

    with table.open("a") as file:
        file.write("c,a kettle,sings,lamp.png\n")
    next_night = Run(runner, "anyfast_products", **given)
    next_night.runner.metadata.run_id = "scheduled__2026-01-02T00:00:00+00:00"
    second = next_night.task("videos")
    assert second.state == "success", second.log_text
    assert (second.result["skipped"], second.result["succeeded"]) == (2, 1)
    assert (sandbox.billed.assets, sandbox.billed.generations) == (1, 3)


def test_the_form_of_a_single_video_offers_what_anyfast_can_make(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    params = parsed("anyfast_text_to_video").params
    assert params.get_param("prompt").schema["format"] == "multiline"
    for name in ("model", "ratio", "resolution", "duration"):
        assert len(params.get_param(name).schema["enum"]) > 2
    chosen = {"model": "seedance-fast", "ratio": "9:16", "resolution": "720p", "duration": 5, "seed": 7}
    ended = Run(runner, "anyfast_text_to_video", output_folder=str(tmp_path), **chosen).task("video")
    assert ended.state == "success", ended.log_text
    (generation,) = sandbox.account().generations
    asked = {name: generation.request[name] for name in chosen}
    assert asked == {**chosen, "model": asked["model"]}
