"""Tasks whose files become assets, killed at every step: one group is billed, and one asset for each picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.steps import CrashPoint
    from tests.support.task_run import TaskRunner

pytestmark = [pytest.mark.usefixtures("fake_clock"), pytest.mark.timeout(300)]


def video(folder: Path, pictures: list[str]) -> Callable[[], BaseOperator]:
    given: dict[str, Any] = {"prompt": "A boat", "resolution": "480p", "duration": 4, "retries": 2}
    output_path = f"{folder}/video.mp4"
    return partial(
        GenerateVideoOperator,
        task_id="video",
        reference_images=pictures,
        asset_group="products",
        output_path=output_path,
        **given,
    )


def batch(folder: Path, pictures: list[str]) -> Callable[[], BaseOperator]:
    return partial(
        GenerateVideoBatchOperator,
        task_id="batch",
        rows=[{"name": Path(file).stem, "picture": file} for file in pictures],
        template={
            "prompt": "A {{ row.name }}",
            "first_frame": "{{ row.picture }}",
            "resolution": "480p",
            "duration": 4,
        },
        manifest_path=f"{folder}/manifest.jsonl",
        asset_group="products",
        retries=2,
        deferrable=True,
        max_in_flight=1,
    )


def creation_steps(points: list[CrashPoint]) -> list[CrashPoint]:
    """The points after each creation in the library, and after each record of one."""
    about = [point.step for point in points if "/volc/asset/" in point.name]
    kinds = ("http POST /volc/asset/Create", "variable put")
    return [
        point
        for point in points
        if point.side == "after" and about[0] <= point.step <= about[-1] and point.name.startswith(kinds)
    ]


@pytest.mark.parametrize(("make_task", "videos"), [(video, 1), (batch, 2)], ids=["on the worker", "deferred"])
def test_a_worker_that_is_killed_while_it_creates_assets_pays_for_nothing_twice(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock, make_task: Any, videos: int
) -> None:
    pictures = []
    for shade, name in enumerate(("boat", "lamp")):
        Image.new("RGB", (300, 300), (90 * shade, 90, 120)).save(tmp_path / f"{name}.png")
        pictures.append(f"{tmp_path}/{name}.png")

    def fresh(name: str) -> tuple[TaskRunner, Callable[[], BaseOperator]]:
        sandbox.reset(clock=fake_clock.now, group_index_seconds=20, asset_index_seconds=12)
        return runner.fresh(), make_task(tmp_path / name, pictures)

    clean, make = fresh("clean")
    points = creation_steps(clean.attempt(make).crash_points)
    assert len(points) >= 5
    for point in points:
        killed, make = fresh(str(point.step))
        assert killed.attempt(make, crash_at=point).crashed
        end = killed.run_to_end(make)
        assert end.state == "success", f"{point}\n{end.log_text}"
        assert (sandbox.billed.asset_groups, sandbox.billed.assets) == (1, 2), point
        assert sandbox.billed.generations == videos, point
        assert not [name for name in killed.metadata.variables if name.startswith("anyfast_ledger")], point
