"""A table that grows by ten rows a night while processes are killed: ``make nights`` checks the bill."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from scripts.airflow_rest import TaskRef
from scripts.processes import wait_until

if TYPE_CHECKING:
    from scripts.local_airflow import LocalAirflow
    from scripts.local_sandbox import LocalSandbox
    from tests.support.s3 import S3

DAG_ID = "nightly_products"
IN_FLIGHT = 8
"""Of the DAG."""
ROWS, PICTURES, NEW_EACH_NIGHT = 200, 40, 10
TOKENS = 40_594
"""The estimate of one row."""
BUDGET = ROWS * TOKENS
COLUMNS = ("SKU", "Name", "Szene", "Bild", "Format")
REFUSED_BY_ANYFAST = 7
"""The product whose prompt AnyFast's moderation refuses."""


def product(number: int) -> dict[str, str]:
    scene = "auf dem Küchentisch" + (" [sandbox:moderation]" if number == REFUSED_BY_ANYFAST else "")
    picture = f"{number % PICTURES}.png"
    return dict(zip(COLUMNS, (f"P{number:03}", f"Lampe „Größe {number}“", scene, picture, "16:9"), strict=True))


def excel_export(rows: list[dict[str, str]]) -> bytes:
    """What a German Excel writes as "CSV UTF-8": a mark, semicolons, and lines of nothing but them at the end."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, delimiter=";", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return (text.getvalue() + ";;;;\r\n" * 3).encode("utf-8-sig")


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (320, 320), (6 * number, 90, 120)).save(content, "PNG")
    return content.getvalue()


@dataclass(frozen=True)
class Bill:
    """What AnyFast has billed so far."""

    groups: int
    assets: int
    videos: int

    def __sub__(self, other: Bill) -> Bill:
        return Bill(self.groups - other.groups, self.assets - other.assets, self.videos - other.videos)


NOTHING = Bill(0, 0, 0)


@dataclass
class Team:
    """The setup of a team: Airflow, a bucket, an account, and a table that somebody exports."""

    airflow: LocalAirflow
    anyfast: LocalSandbox
    s3: S3

    def run(self, rows: list[dict[str, str]], budget: int = BUDGET) -> Night:
        """Exports the table, and starts the DAG."""
        self.s3.put("products.csv", excel_export(rows))
        before = self.bill
        run_id = self.airflow.rest.trigger(DAG_ID, {"budget": budget})
        return Night(self, TaskRef(DAG_ID, run_id, "videos"), before, time.monotonic())

    @property
    def bill(self) -> Bill:
        billed = self.anyfast.account()["billed"]
        return Bill(billed["asset_groups"], billed["assets"], billed["generations"])


@dataclass
class Night:
    """One run of the DAG."""

    team: Team
    task: TaskRef
    before: Bill
    began: float
    seconds: float = 0.0

    @property
    def bill(self) -> Bill:
        return self.team.bill - self.before

    def end(self) -> str:
        state = self.team.airflow.rest.wait_for_run(DAG_ID, self.task.run_id, seconds=600)
        self.seconds = time.monotonic() - self.began
        return state

    @property
    def log(self) -> str:
        return self.team.airflow.rest.log(self.team.airflow.rest.task(self.task))

    def refused(self) -> str:
        """The log of a run that has ended without a retry."""
        assert self.end() == "failed", self.log
        assert self.team.airflow.rest.task(self.task).try_number == 1
        return self.log

    def kill_the_triggerer(self) -> None:
        rest = self.team.airflow.rest
        rest.wait_for_task(self.task, "deferred", seconds=300)
        wait_until(lambda: rest.task(self.task).triggerer_id, "a triggerer", seconds=60)
        self.team.airflow.replace("triggerer")

    def kill_the_worker_while_it_downloads(self) -> None:
        anyfast = self.team.anyfast
        before = len(anyfast.requests("download"))
        anyfast.fault("stall_download", seconds=60, times=IN_FLIGHT)
        wait_until(lambda: len(anyfast.requests("download")) >= before + IN_FLIGHT, "downloads", seconds=300)
        self.team.airflow.kill_task(self.task)
        anyfast.clear_faults()

    def manifest(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.team.s3.get(f"nights/{self.task.run_id}.jsonl").splitlines()]

    def report(self) -> list[dict[str, str]]:
        text = self.team.s3.get(f"nights/{self.task.run_id}.csv").decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def page(self) -> str:
        return self.team.s3.get(f"nights/{self.task.run_id}.html").decode()


@pytest.fixture
def team(airflow: LocalAirflow, anyfast: LocalSandbox, s3: S3) -> Team:
    for number in range(PICTURES):
        s3.put(f"pictures/{number}.png", picture(number))
    airflow.wait_for_dag(DAG_ID)
    return Team(airflow, anyfast, s3)


@pytest.mark.timeout(2400)
def test_each_night_is_billed_for_its_new_rows_alone(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    table = [product(number) for number in range(ROWS)]
    heads = ("groups", "assets", "videos", "ready", "kept", "failed", "tries", "s")
    lines = [f"{'run':<34}" + "".join(f"{head:>8}" for head in heads)]

    def note(name: str, night: Night, counts: Counter[str]) -> None:
        bill, tries = night.bill, team.airflow.rest.task(night.task).try_number
        ended = (counts[status] for status in ("SUCCESS", "SKIPPED", "FAILURE"))
        numbers = (bill.groups, bill.assets, bill.videos, *ended, tries, round(night.seconds))
        lines.append(f"{name:<34}" + "".join(f"{number:>8}" for number in numbers))

    wrong = [dict(row) for row in table]
    wrong[50]["Name"], wrong[60]["Format"], wrong[70]["Bild"] = "", "17:9", "gone.png"
    refused = team.run(wrong)
    text = refused.refused()
    assert "2 of 200 rows would be refused" in text
    assert "row 51 (line 52, SKU P050)" in text
    assert "row 61 (line 62, SKU P060)" in text
    note("an empty cell, a wrong format", refused, Counter())

    wrong[50], wrong[60] = table[50], table[60]
    refused = team.run(wrong)
    text = refused.refused()
    assert "1 of 41 references cannot become assets" in text
    assert "gone.png does not exist. Needed by row 71 (line 72, SKU P070)." in text
    note("a picture that is not there", refused, Counter())

    refused = team.run(table, BUDGET - 1)
    assert "max_tokens" in refused.refused()
    note("over the budget", refused, Counter())
    assert team.bill == NOTHING

    for number in range(3):
        table = [product(row) for row in range(ROWS + number * NEW_EACH_NIGHT)]
        night = team.run(table)
        night.kill_the_triggerer()
        night.kill_the_worker_while_it_downloads()
        assert night.end() == "success", night.log
        entries = night.manifest()
        counts = Counter(str(entry["status"]) for entry in entries)
        note(f"night {number + 1}, {len(table)} rows", night, counts)

        new = NEW_EACH_NIGHT if number else ROWS - 1
        assert counts == Counter(SUCCESS=new, SKIPPED=len(table) - new - 1, FAILURE=1)
        assert night.bill == (Bill(0, 0, new) if number else Bill(1, PICTURES, new))
        assert [entry["row"] for entry in entries] == list(range(1, len(table) + 1))
        assert [entry["input"]["SKU"] for entry in entries if entry["status"] == "FAILURE"] == ["P007"]
        assert Counter(row["status"] for row in night.report()) == counts
        assert f"{len(table) - 1} of {len(table)} videos ready" in night.page()
        assert "1 failed" in night.page()
        assert (f"{counts['SKIPPED']} already there" in night.page()) == (number > 0)
        assert team.airflow.rest.task(night.task).try_number == 2

    prompts = Counter(str(made["prompt"]) for made in team.anyfast.account()["generations"])
    assert set(prompts.values()) == {1}, "no row is billed twice"
    finished = [key for key in team.s3.keys() if key.startswith("finished/")]  # noqa: SIM118 - not a dictionary
    assert len(finished) == len(prompts) == len(table) - 1
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
