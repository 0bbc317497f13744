"""A growing table with pictures in S3, made every night: what each run is billed for, and what becomes of bad rows."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from tests.operators.test_batch_only_new import next_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.s3 import S3
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

ROWS, PICTURES, NEW_EACH_NIGHT = 24, 20, 5
TOKENS = 40_594
"""The estimate of one row."""


def picture(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (300, 300), (5 * shade, 90, 120)).save(content, "PNG")
    return content.getvalue()


def rows_of(s3: S3, number: int) -> list[dict[str, Any]]:
    return [{"sku": f"P{n:03}", "picture": s3.path(f"pictures/{n % PICTURES}.png")} for n in range(number)]


def products(folder: Path, rows: list[dict[str, Any]], **parameters: Any) -> partial[GenerateVideoBatchOperator]:
    return partial(
        GenerateVideoBatchOperator,
        task_id="products",
        rows=rows,
        template={
            "prompt": "A turn around {{ row.sku }}{{ ' [sandbox:moderation]' if row.sku == 'P007' else '' }}",
            "first_frame": "{{ row.picture }}",
            "resolution": "480p",
            "duration": 4,
            "output_path": f"{folder}/{{{{ row.sku }}}}.mp4",
        },
        manifest_path=f"{folder}/manifest.jsonl",
        asset_group="products",
        key_column="sku",
        if_exists="skip",
        failure_threshold=0.05,
        deferrable=True,
        **parameters,
    )


def billed(sandbox: SandboxHandle) -> tuple[int, int, int]:
    return (sandbox.billed.asset_groups, sandbox.billed.assets, sandbox.billed.generations)


def test_three_nights_pay_for_each_picture_and_for_each_new_row_once(
    s3_runner: TaskRunner, sandbox: SandboxHandle, s3: S3, tmp_path: Path
) -> None:
    for n in range(PICTURES):
        s3.put(f"pictures/{n}.png", picture(n))
    s3.put("pictures/notes.png", b"no picture")
    bad = [
        {"sku": f"X{n}", "picture": s3.path(f"pictures/{name}.png")} for n, name in enumerate(("gone", "notes", "lost"))
    ]
    refused = s3_runner.attempt(products(tmp_path, [*rows_of(s3, ROWS), *bad]))
    assert f"3 of {PICTURES + 3} references cannot become assets" in str(refused.error)
    assert all(name in str(refused.error) for name in ("gone.png", "notes.png", "lost.png"))
    assert f"gone.png does not exist. Needed by row {ROWS + 1} (sku X0)." in str(refused.error)
    assert billed(sandbox) == (0, 0, 0)

    over = next_run(s3_runner).attempt(products(tmp_path, rows_of(s3, ROWS), max_tokens=ROWS * TOKENS - 1))
    assert "max_tokens" in str(over.error)
    assert billed(sandbox) == (0, 0, 0)

    for night in range(3):
        rows = rows_of(s3, ROWS + night * NEW_EACH_NIGHT)
        attempt = next_run(s3_runner).attempt(products(tmp_path, rows, max_tokens=ROWS * TOKENS))
        assert attempt.state == "success", attempt.log_text
        made = NEW_EACH_NIGHT if night else ROWS - 1
        counts = {name: attempt.result[name] for name in ("rows", "succeeded", "skipped", "failed")}
        assert counts == {"rows": len(rows), "succeeded": made, "skipped": len(rows) - made - 1, "failed": 1}
        assert billed(sandbox) == (1, PICTURES, len(rows) - 1)
        lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
        assert [line["error_type"] for line in lines if line["status"] == "FAILURE"] == ["ModerationError"]
