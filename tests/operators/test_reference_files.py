"""Pictures that requests, or rows of a table, name as files: each becomes an asset once."""

from __future__ import annotations

import json
from concurrent.futures import wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from jinja2 import Environment
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from airflow_provider_anyfast.assets.bulk import creation_threads
from airflow_provider_anyfast.assets.creation import AssetCreation, GroupCreation
from airflow_provider_anyfast.assets.references import ReferenceLibrary
from airflow_provider_anyfast.batch.options import BatchParameters
from airflow_provider_anyfast.batch.source import RowSource
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.exceptions import AuthenticationError, QuotaError, WaitInterruptedError
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetsOperator
from airflow_provider_anyfast.operators.asset_deletion import DeleteAssetGroupOperator
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.rows import CheckRowsOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock
    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")


def picture(path: Path, shade: int = 0, *, note: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    info.add_text("Comment", note)
    Image.new("RGB", (400, 400), (shade, 90, 120)).save(path, "PNG", pnginfo=info)
    return str(path)


REFUSED = "[sandbox:fail:FaceMismatch]"
"""The note of a picture that the sandbox accepts, and then fails to process."""


def next_run(runner: TaskRunner) -> TaskRunner:
    night = runner.fresh()
    night.metadata.run_id = f"scheduled__{uuid4()}"
    return night


def batch(folder: Path, rows: list[dict[str, Any]], **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": rows,
        "template": {
            "prompt": "A film about {{ row.name }}",
            "first_frame": "{{ row.picture or none }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": f"{folder}/{{{{ row.name }}}}.mp4",
        },
        "manifest_path": f"{folder}/manifest.jsonl",
        "asset_group": "products",
        "retries": 2,
        "deferrable": True,
        "max_in_flight": 4,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A boat", "resolution": "480p", "duration": 4, "asset_group": "products"}
    return partial(GenerateVideoOperator, **{**given, **parameters})


def billed(sandbox: SandboxHandle) -> tuple[int, int, int]:
    return (sandbox.billed.asset_groups, sandbox.billed.assets, sandbox.billed.generations)


def frames(sandbox: SandboxHandle) -> list[str]:
    contents = [generation.request["content"] for generation in sandbox.account().generations]
    return [item["image_url"]["url"] for content in contents for item in content if item["type"] == "image_url"]


def test_a_picture_becomes_an_asset_once_for_all_rows_and_runs(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boat, lamp = picture(tmp_path / "in" / "boat.png"), picture(tmp_path / "in" / "lamp.png", 50)
    same = picture(tmp_path / "in" / "the same boat.png")
    rows = [{"name": f"film {n}", "picture": file} for n, file in enumerate([boat, lamp, boat, same])]
    first = runner.attempt(batch(tmp_path, rows))
    assert first.state == "success", first.log_text
    assert billed(sandbox) == (1, 2, 4)
    assert len(set(frames(sandbox))) == 2
    assert all(frame.startswith("asset://asset-") for frame in frames(sandbox))
    assert next_run(runner).attempt(batch(tmp_path, rows)).state == "success"
    assert next_run(runner).attempt(video(first_frame=Path(boat))).state == "success"
    assert billed(sandbox) == (1, 2, 9)


def test_pictures_come_from_object_storage_and_a_group_may_be_named_by_its_id(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path
) -> None:
    stored = s3.put("in/boat.png", Path(picture(tmp_path / "boat.png")).read_bytes())
    assert s3_runner.attempt(video(reference_images=[stored])).state == "success"
    (group,) = sandbox.account().groups
    by_id = next_run(s3_runner).attempt(video(reference_images=[stored], asset_group=group.id))
    assert by_id.state == "success", by_id.log_text
    assert billed(sandbox) == (1, 1, 2)


def test_every_file_is_inspected_before_the_first_payment(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    files = [picture(tmp_path / "boat.png"), str(tmp_path / "notes.png"), str(tmp_path / "gone.png")]
    attempt = runner.attempt(batch(tmp_path, [{"name": f"film {n}", "picture": file} for n, file in enumerate(files)]))
    assert attempt.error is not None, attempt.log_text
    assert "2 of 3 references cannot become assets" in str(attempt.error)
    assert "notes.png" in str(attempt.error)
    assert "gone.png" in str(attempt.error)
    assert billed(sandbox) == (0, 0, 0)


def test_a_row_without_a_picture_is_made_if_the_template_allows_it(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"name": "with", "picture": picture(tmp_path / "boat.png")}, {"name": "without", "picture": ""}]
    assert runner.attempt(batch(tmp_path, rows)).state == "success"
    assert billed(sandbox) == (1, 1, 2)
    assert len(frames(sandbox)) == 1


def test_a_missing_picture_is_refused_if_the_template_does_not_allow_it(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    template = {"prompt": "{{ row.name }}", "first_frame": "{{ row.picture }}"}
    attempt = runner.attempt(batch(tmp_path, [{"name": "a", "picture": ""}], template=template))
    assert "column 'picture' has no value" in str(attempt.error)
    assert billed(sandbox) == (0, 0, 0)


@pytest.mark.parametrize(("frame", "is_made"), [("{{ params.frame or none }}", True), ("{{ params.frame }}", False)])
def test_a_single_video_is_made_without_its_picture_only_if_the_template_allows_it(
    runner: TaskRunner, sandbox: SandboxHandle, frame: str, *, is_made: bool
) -> None:
    attempt = runner.fresh().attempt(video(first_frame=frame, params={"frame": None}))
    assert (attempt.state == "success") is is_made, attempt.log_text
    assert is_made or "end its template with 'or none' if it may be missing" in str(attempt.error)
    assert sandbox.billed.generations == int(is_made)


def test_a_picture_that_anyfast_refuses_fails_only_its_rows_and_is_not_billed_at_each_run(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [
        {"name": "boat", "picture": picture(tmp_path / "boat.png")},
        {"name": "lamp", "picture": picture(tmp_path / "lamp.png", 9, note=REFUSED)},
    ]
    for _ in range(2):
        attempt = next_run(runner).attempt(batch(tmp_path, rows, if_exists="skip"))
        assert attempt.state == "failed"
        (tmp_path / "boat.mp4").stat()
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[1])
    assert (line["status"], line["error_type"]) == ("FAILURE", "AssetFailedError")
    assert billed(sandbox) == (1, 2, 1)


def test_paid_videos_are_saved_even_if_a_picture_has_been_deleted_since(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [
        {"name": "boat", "picture": picture(tmp_path / "boat.png")},
        {"name": "lamp", "picture": picture(tmp_path / "lamp.png", 9)},
    ]
    sandbox.fault("no_quota", match="lamp", times=0)
    sandbox.fault("cut_download", times=0)
    make = batch(tmp_path, rows, max_in_flight=1)  # the boat comes before the refusal
    assert runner.attempt(make).state == "failed"
    assert not (tmp_path / "boat.mp4").exists()
    sandbox.end_faults()
    runner.clear()
    (tmp_path / "lamp.png").unlink()
    again = runner.attempt(make)
    assert (tmp_path / "boat.mp4").exists(), again.log_text
    assert "lamp.png' cannot be read" in str(again.error)
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize("kind", ["video", "batch"])
def test_a_task_that_is_stopped_while_its_pictures_are_processed_ends_within_a_second(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, tmp_path: Path, kind: str
) -> None:
    sandbox.reset(clock=fake_clock.now, asset_seconds=300)
    boat = picture(tmp_path / "boat.png")
    rows = [{"name": "boat", "picture": boat}]
    make = batch(tmp_path, rows) if kind == "batch" else video(first_frame=boat, retries=2)
    fake_clock.stop_task_at(fake_clock.now() + 45)
    attempt = runner.attempt(make)
    assert attempt.state == "up_for_retry", attempt.log_text
    assert isinstance(attempt.error, WaitInterruptedError)
    assert fake_clock.stopped_at is not None
    assert fake_clock.now() - fake_clock.stopped_at < 1
    assert billed(sandbox) == (1, 1, 0)
    assert runner.run_to_end(make).state == "success"
    assert billed(sandbox) == (1, 1, 1)


def test_the_reason_why_a_picture_has_no_asset_survives_a_deferral(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [
        {"name": "boat", "picture": picture(tmp_path / "boat.png")},
        {"name": "lamp", "picture": picture(tmp_path / "lamp.png", 9, note=REFUSED)},
    ]
    attempt = runner.attempt(batch(tmp_path, rows, max_active=1, retries=0))
    assert attempt.deferrals >= 1
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[1])
    assert line["error_type"] == "AssetFailedError"
    assert "Face consistency" in line["error"]
    assert billed(sandbox) == (1, 2, 1)


def test_a_retry_creates_no_assets_for_rows_that_are_paid_for(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    shades = {"boat": 0, "lamp": 9}
    rows = [{"name": name, "picture": picture(tmp_path / f"{name}.png", shade)} for name, shade in shades.items()]
    sandbox.fault("no_quota", match="lamp", times=1)
    make = batch(tmp_path, rows, max_in_flight=1)  # the boat comes before the refusal
    assert runner.attempt(make).state == "failed"
    assert billed(sandbox) == (1, 2, 1)
    picture(tmp_path / "boat.png", 77)
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert billed(sandbox) == (1, 2, 2)


def test_a_row_that_needs_a_second_video_creates_the_asset_that_it_lacks(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"name": "boat [sandbox:fail]", "picture": picture(tmp_path / "boat.png")}]
    make = batch(tmp_path, rows)
    assert runner.attempt(make).state == "up_for_retry"
    picture(tmp_path / "boat.png", 77)
    again = runner.attempt(make)
    assert "New assets: 1." in again.log_text
    assert sandbox.billed.assets == 2
    assert len(set(frames(sandbox))) == 2


def test_a_row_that_needs_a_second_video_creates_no_group_in_place_of_a_deleted_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    rows = [{"name": "boat [sandbox:fail]", "picture": picture(tmp_path / "boat.png")}]
    make = batch(tmp_path, rows)
    assert runner.attempt(make).state == "up_for_retry"
    assert (
        runner.fresh().attempt(lambda: DeleteAssetGroupOperator(task_id="delete", name="products")).state == "success"
    )
    again = runner.attempt(make)
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[0])
    assert "lists no asset group 'products'" in line["error"], again.log_text
    assert billed(sandbox) == (1, 1, 1)


@pytest.mark.parametrize("name", ["no_quota", "unauthorized"])
def test_an_error_of_the_account_ends_the_batch_at_the_first_picture(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, name: str
) -> None:
    rows = [{"name": f"film {n}", "picture": picture(tmp_path / f"{n}.png", n)} for n in range(20)]
    sandbox.fault(name, on="CreateAsset", times=0)
    attempt = runner.attempt(batch(tmp_path, rows, max_in_flight=2))
    assert isinstance(attempt.error, QuotaError | AuthenticationError)
    assert len(sandbox.requests("CreateAsset")) <= 2
    assert not (tmp_path / "manifest.jsonl").exists()
    assert billed(sandbox) == (1, 0, 0)


def test_nothing_is_started_after_such_an_error_however_late_the_task_notices_it() -> None:
    started = []

    def fail(file: int) -> None:
        started.append(file)
        raise QuotaError("There is no money left.")

    with creation_threads(2) as pool:
        futures = [pool.submit(fail, file) for file in range(20)]
        wait(futures)
    assert len(started) <= 2
    assert all(isinstance(future.exception(), QuotaError) for future in futures)


def test_paid_videos_are_saved_before_an_error_of_the_account_ends_the_batch(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    shades = {"boat": 0, "lamp": 9}
    rows = [{"name": name, "picture": picture(tmp_path / f"{name}.png", shade)} for name, shade in shades.items()]
    sandbox.fault("no_quota", match="lamp", times=0)
    sandbox.fault("cut_download", times=0)
    make = batch(tmp_path, rows, max_in_flight=1)  # the boat comes before the refusal
    assert runner.attempt(make).state == "failed"
    sandbox.end_faults()
    sandbox.fault("no_quota", on="CreateAsset", times=0)
    picture(tmp_path / "lamp.png", 77)
    runner.clear()
    again = runner.attempt(make)
    assert isinstance(again.error, QuotaError)
    assert (tmp_path / "boat.mp4").exists()
    assert "Rows done: 1 of 2." in str(again.error)
    assert billed(sandbox) == (1, 2, 1)


def test_another_group_needs_a_new_index_of_the_rows() -> None:
    def digest(group: str) -> str:
        rows = [{"name": "boat"}]
        given = BatchParameters(asset_group=group)
        return RowSource(rows, given, Environment(autoescape=True), {}, "anyfast_default").digest

    assert digest("products") != digest("lamps")
    assert digest("products") == digest("products")


def test_two_tasks_that_create_a_group_at_the_same_moment_agree_on_one(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boat = picture(tmp_path / "boat.png")
    find, looks = GroupCreation.find, list[str]()

    def find_before_the_other_task(creation: GroupCreation, name: str, created_since: float = 0.0) -> Any:
        found = find(creation, name, created_since)
        looks.append(name)
        if len(looks) == 2:  # this task creates the group next
            assert next_run(runner).attempt(video(first_frame=boat)).state == "success"
        return found

    monkeypatch.setattr(GroupCreation, "find", find_before_the_other_task)
    attempt = runner.attempt(video(first_frame=boat))
    assert attempt.state == "success", attempt.log_text
    assert "Another task created a group 'products' at the same moment" in attempt.log_text
    assert len(set(frames(sandbox))) == 1
    assert billed(sandbox) == (2, 1, 2)
    assert next_run(runner).attempt(video(first_frame=boat)).state == "success"
    assert billed(sandbox) == (2, 1, 3)


def test_two_tasks_that_create_an_asset_of_one_content_at_the_same_moment_pay_once(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runner.attempt(video(first_frame=picture(tmp_path / "boat.png"))).state == "success"
    find, looks = AssetCreation.find, list[str]()

    def find_too_early(creation: AssetCreation, name: str) -> Any:
        looks.append(name)
        return None if len(looks) == 1 else find(creation, name)

    monkeypatch.setattr(ReferenceLibrary, "_listed", lambda library: {})
    monkeypatch.setattr(AssetCreation, "find", find_too_early)
    attempt = next_run(runner).attempt(video(first_frame=picture(tmp_path / "the same boat.png")))
    assert attempt.state == "success", attempt.log_text
    assert len(set(frames(sandbox))) == 1
    assert billed(sandbox) == (1, 1, 2)


def test_assets_that_another_operator_created_are_found_by_their_content(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boat = picture(tmp_path / "boat.png")
    group = runner.attempt(lambda: CreateAssetGroupOperator(task_id="group", name="products")).result
    created = runner.attempt(lambda: CreateAssetsOperator(task_id="assets", group_id=group, files=[boat]))
    (named,) = created.xcoms["assets"]
    assert named == {"file": boat, "name": sandbox.account().assets[0].name, "id": created.result[0]}
    assert runner.attempt(video(first_frame=picture(tmp_path / "the same boat.png"))).state == "success"
    assert frames(sandbox) == [f"asset://{named['id']}"]
    assert billed(sandbox) == (1, 1, 1)


def test_an_upload_without_a_response_is_not_a_lost_video(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    sandbox.fault("drop_answer", on="CreateAsset", times=1)
    attempt = runner.attempt(video(first_frame=picture(tmp_path / "boat.png")))
    assert attempt.state == "success", attempt.log_text
    assert billed(sandbox) == (1, 1, 1)


def test_a_file_without_a_group_is_refused_while_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set asset_group as well"):
        video(first_frame=picture(tmp_path / "boat.png"), asset_group=None)()


@pytest.mark.parametrize(("group", "is_refused"), [(None, True), ("products", False), ("{{ params.group }}", False)])
def test_a_file_in_the_template_of_a_batch_needs_a_group_while_the_dag_is_parsed(
    tmp_path: Path, group: str | None, *, is_refused: bool
) -> None:
    template = {"prompt": "{{ row.name }}", "first_frame": str(tmp_path / "boat.png")}
    make = batch(tmp_path, [], template=template, asset_group=group)
    if is_refused:
        with pytest.raises(ValueError, match="set asset_group as well"):
            make()
    else:
        make()


def test_checked_rows_give_mapped_tasks_the_files_of_a_table_and_their_group(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path
) -> None:
    boat = picture(tmp_path / "boat.png")
    template = {"prompt": "{{ row.name }}", "resolution": "480p", "ratio": "16:9", "duration": 4}
    check = partial(
        CheckRowsOperator,
        task_id="check",
        rows=[{"name": "Boat", "picture": boat}, {"name": "Lamp", "picture": ""}],
        template={**template, "first_frame": "{{ row.picture or none }}"},
        asset_group="products",
    )
    checked = runner.attempt(check)
    assert "2 rows will cost about 81,188 tokens.\n" in checked.log_text
    assert sandbox.requests() == []
    for number, keywords in enumerate(checked.result):
        mapped = partial(GenerateVideoOperator, task_id=f"video{number}", **keywords)
        assert runner.fresh().attempt(mapped).state == "success"
    assert billed(sandbox) == (1, 1, 2)
    assert len(frames(sandbox)) == 1


def test_a_template_with_a_file_needs_a_group_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidRequestError, match="set asset_group as well"):
        CheckRowsOperator(task_id="check", rows=[{}], template={"prompt": "A boat", "first_frame": "/data/boat.png"})
