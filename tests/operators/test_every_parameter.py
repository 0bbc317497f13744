"""Every parameter of every operator and sensor, with all kinds of values: valid, or refused before anything is billed.

An operator runs, with Airflow's own templates, up to its first request to AnyFast, which is never sent.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from airflow.sdk import DAG, BaseOperator
from PIL import Image

from airflow_provider_anyfast import operators, sensors
from airflow_provider_anyfast.client.errors import BatchRejectedError, InvalidRequestError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook
from airflow_provider_anyfast.ledger import stores
from airflow_provider_anyfast.operators.asset import (
    CreateAssetGroupOperator,
    CreateAssetOperator,
    CreateAssetsOperator,
    ListAssetGroupsOperator,
    ListAssetsOperator,
)
from airflow_provider_anyfast.operators.asset_deletion import DeleteAssetGroupOperator, DeleteAssetOperator
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.report import WriteReportOperator
from airflow_provider_anyfast.operators.review import ReviewVideosOperator
from airflow_provider_anyfast.operators.rows import CheckRowsOperator
from airflow_provider_anyfast.operators.video import DownloadVideoOperator, GenerateVideoOperator
from airflow_provider_anyfast.sensors.asset import AssetStatusSensor
from airflow_provider_anyfast.sensors.video import VideoStatusSensor
from airflow_provider_anyfast.tasks import batch as batch_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

VALUES: dict[str, Any] = {
    "None": None,
    "empty": "",
    "'None'": "None",
    "True": True,
    "-1": -1,
    "0": 0,
    "7": 7,
    "1e14": 1e14,
    "words": "two words",
    "five minutes": timedelta(minutes=5),
    "list": ["a"],
    "mapping": {"a": 1},
    "bytes": b"x",
}
"""Values that people pass, by accident too."""
WITHOUT_REQUESTS = (CheckRowsOperator, WriteReportOperator)
"""These end without a request to AnyFast."""
NOTHING = {"None", "empty", "'None'"}
ANYTHING = VALUES.keys() - NOTHING


@dataclass(frozen=True)
class Kind:
    """Which of ``VALUES`` a parameter accepts; it refuses the others.

    Attributes:
        literal: accepted when written in the DAG.
        text: accepted when a template renders them as text, as Airflow does unless the DAG says otherwise.
        native: accepted when a template, or another task, passes them unchanged. None: the same as ``literal``.
        also: further valid values.
    """

    literal: set[str]
    text: set[str] = field(default_factory=set)
    native: set[str] | None = None
    also: tuple[Any, ...] = ()

    def takes(self, way: str) -> set[str]:
        return {"literal": self.literal, "text": self.text}.get(
            way, self.literal if self.native is None else self.native
        )


def choice(*choices: str, optional: bool = False, meant: bool = False) -> Kind:
    nothing = NOTHING if optional else set()
    left_out = {"None"} if meant else nothing
    return Kind(left_out, set() if meant else nothing, set() if meant else nothing, also=choices)


SECONDS = Kind({"7", "five minutes"}, {"7", "five minutes"}, also=("600", "00:10:00", "PT10M", 0.5))
OPTIONAL_SECONDS = Kind(SECONDS.literal | NOTHING, SECONDS.text | NOTHING, also=SECONDS.also)
COUNT = Kind({"7"}, {"7"}, also=("7",))
OPTIONAL_COUNT = Kind({"7", "1e14"} | NOTHING, {"7", "1e14"} | NOTHING, also=("7",))
SHARE = Kind({"0"}, {"0"}, also=("0.5", 1))
SWITCH = Kind({"True"}, also=(False,))
FLAG = Kind({"True", "0"}, {"True", "0"}, also=("false", "no"))
OPTIONAL_FLAG = Kind(FLAG.literal | NOTHING, FLAG.text | NOTHING, also=FLAG.also)
IDS_AS_TEXT = {"True", "-1", "0", "7", "1e14", "five minutes"}
"""As text, these are ids that AnyFast does not know. Its response to them is not billed."""
ID = Kind(set(), IDS_AS_TEXT, also=("asset-1", " asset-1 "))
GENERATION_ID = Kind(set(), IDS_AS_TEXT - {"-1"}, also=("asyntask_1",))
TEXT = Kind({"words", "-1", "0", "7", "1e14", "bytes"}, set(ANYTHING))
OPTIONAL_TEXT = Kind(TEXT.literal | NOTHING, TEXT.text | NOTHING)
TEXT_IF_GIVEN = Kind(TEXT.literal | {"None"}, TEXT.text, TEXT.literal)
PATH = Kind({"words", "bytes"}, set(ANYTHING))
PATH_IF_GIVEN = Kind(PATH.literal | {"None"}, PATH.text, PATH.literal)
REFERENCE = Kind({"None"}, set(), set(), also=("https://x.example/a.png", "asset://asset-1"))
REFERENCES = Kind({"None"}, set(), set(), also=(["https://x.example/a.png"], "['https://x.example/a.png']"))
ANYFAST = {"anyfast_conn_id": ID}
WAIT = {"deferrable": SWITCH, "poll_interval": OPTIONAL_SECONDS, "timeout": SECONDS, **ANYFAST}
SENSOR = {"deferrable": FLAG, "poke_interval": SECONDS, "timeout": SECONDS, **ANYFAST}
LIST = {
    "name": TEXT_IF_GIVEN,
    "group_ids": Kind({"None", "list"}, IDS_AS_TEXT | {"list"}, {"list"}, also=("group-1", ["group-1"])),
    "group_type": OPTIONAL_TEXT,
    **ANYFAST,
}
PARAMETERS: dict[type[BaseOperator], dict[str, Kind]] = {
    GenerateVideoOperator: {
        "prompt": TEXT,
        "model": TEXT,
        "first_frame": REFERENCE,
        "last_frame": REFERENCE,
        "reference_images": REFERENCES,
        "reference_videos": REFERENCES,
        "reference_audios": REFERENCES,
        "resolution": choice("480p", optional=True),
        "ratio": choice("16:9", optional=True),
        "duration": Kind({"7"} | NOTHING, {"7"} | NOTHING, also=("7",)),
        "seed": Kind({"-1", "0", "7"} | NOTHING, {"-1", "0", "7"} | NOTHING),
        "generate_audio": OPTIONAL_FLAG,
        "watermark": OPTIONAL_FLAG,
        "return_last_frame": OPTIONAL_FLAG,
        "web_search": OPTIONAL_FLAG,
        "content": Kind(NOTHING, NOTHING, also=([{"type": "text", "text": "a"}],)),
        "extra_body": Kind({"mapping"} | NOTHING, {"mapping"} | NOTHING),
        "output_path": PATH_IF_GIVEN,
        "asset_group": OPTIONAL_TEXT,
        "overwrite": SWITCH,
        "save_poster": SWITCH,
        "wait_for_completion": SWITCH,
        "max_tokens": Kind({"1e14"} | NOTHING, {"1e14"} | NOTHING),
        "durable": SWITCH,
        "on_lost_submission": choice("fail", "resubmit"),
        **WAIT,
    },
    GenerateVideoBatchOperator: {
        "rows": Kind({"mapping"}, {"mapping"}),
        "template": Kind(set()),
        "manifest_path": PATH,
        "on_row_failure": choice("continue", "fail"),
        "failure_threshold": SHARE,
        "max_in_flight": COUNT,
        "max_active": OPTIONAL_COUNT,
        "max_tokens": Kind({"1e14"} | NOTHING, {"1e14"} | NOTHING),
        "on_lost_submission": choice("fail", "resubmit"),
        "key_column": OPTIONAL_TEXT,
        "duplicate_rows": choice("keep", "skip", "fail"),
        "required": Kind(NOTHING, NOTHING, also=("name", ["name"])),
        "if_exists": choice("overwrite", "skip"),
        "limit": OPTIONAL_COUNT,
        "asset_group": OPTIONAL_TEXT,
        "report_path": Kind(NOTHING, NOTHING, also=("report.html", Path("report.html"))),
        "save_poster": SWITCH,
        **WAIT,
    },
    CheckRowsOperator: {
        "rows": Kind({"mapping"}, {"mapping"}),
        "template": Kind(set()),
        "prompt_param": Kind({"None"}),
        "key_column": OPTIONAL_TEXT,
        "asset_group": OPTIONAL_TEXT,
    },
    WriteReportOperator: {
        "videos": ID,
        "rows": Kind({"mapping"}, {"mapping"}),
        "report_path": Kind(set(), also=("report.html", Path("report.html"))),
        "key_column": OPTIONAL_TEXT,
        "failure_threshold": SHARE,
    },
    DownloadVideoOperator: {
        "generation_id": GENERATION_ID,
        "output_path": PATH,
        "overwrite": SWITCH,
        "save_poster": SWITCH,
        **ANYFAST,
    },
    CreateAssetGroupOperator: {"name": TEXT, "if_exists": choice("reuse", "fail", "create"), **ANYFAST},
    CreateAssetOperator: {
        "group_id": ID,
        "url": Kind(set(), also=("https://x.example/a.png",)),
        "file": Kind(set(), also=("lamp.png", Path("lamp.png"))),
        "name": TEXT_IF_GIVEN,
        "asset_type": choice("Image", optional=True, meant=True),
        "upload": choice("auto", "data_uri", "multipart"),
        "if_exists": choice("reuse", "fail"),
        "wait_until_active": FLAG,
        **WAIT,
    },
    CreateAssetsOperator: {
        "group_id": ID,
        "files": Kind(set(), also=("*.png", ["lamp.png"], Path("lamp.png"))),
        "asset_type": choice("Image", optional=True, meant=True),
        "upload": choice("auto", "data_uri", "multipart"),
        "wait_until_active": FLAG,
        "max_in_flight": COUNT,
        **WAIT,
    },
    ListAssetGroupsOperator: LIST,
    ListAssetsOperator: LIST,
    DeleteAssetOperator: {
        "asset_id": Kind({"list"}, IDS_AS_TEXT | {"list"}, also=("asset-1",)),
        "group_id": Kind({"None"}, set(), set()),
        "name": Kind({"None"}, set(), set()),
        **ANYFAST,
    },
    DeleteAssetGroupOperator: {
        "group_id": Kind(set(), IDS_AS_TEXT),
        "name": Kind({"None"}, set(), set()),
        **ANYFAST,
    },
    ReviewVideosOperator: {
        "videos": Kind(set()),
        "final": Kind({"mapping"} | NOTHING, {"mapping"} | NOTHING),
        "returns": choice("rows", "keywords"),
        "on_none": choice("skip", "fail"),
        "subject": TEXT,
        "body": OPTIONAL_TEXT,
        "defaults": Kind({"None"}, also=(ReviewVideosOperator.APPROVE,)),
        "response_timeout": OPTIONAL_SECONDS,
        "assigned_users": Kind({*VALUES}),
        "notifiers": Kind({*VALUES}),
    },
    VideoStatusSensor: {"generation_id": GENERATION_ID, **SENSOR},
    AssetStatusSensor: {"asset_id": ID, **SENSOR},
}
"""By operator and parameter."""


class ContactError(BaseException):
    """A request to AnyFast, or a question to a person, would follow now."""


class _Line:
    """A client that never sends anything."""

    settings = Settings("key", "http://anyfast.example")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _contact(self, *_: object, **__: object) -> NoReturn:
        raise ContactError

    send = send_once = run = _contact


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of the tasks, whose connection is unreachable."""
    Image.new("RGB", (640, 640)).save(tmp_path / "lamp.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AnyFastHook, "get_conn", lambda _hook: _Line())
    monkeypatch.setattr(AnyFastHook, "settings", _Line.settings)
    monkeypatch.setattr(ReviewVideosOperator, "_ask", _Line._contact)
    monkeypatch.setattr(GenerateVideoBatchOperator, "get_template_env", lambda _task: _environment(native=False))
    monkeypatch.setattr(stores, "task_store", lambda context, key, **_: context["ti"].stores[key])
    monkeypatch.setattr(batch_tasks, "store_of_all_runs", lambda context, key: context["ti"].stores[key])
    logging.disable()  # of thousands of refusals
    yield tmp_path
    logging.disable(logging.NOTSET)


def base(kind: type[BaseOperator], name: str) -> dict[str, Any]:
    """Valid values of the operator's other parameters."""
    link = "https://x.example/a.png"
    finished = {"generation_id": "asyntask_1", "status": "SUCCESS", "path": "/a.mp4", "prompt": "A boat"}
    needed = {
        "last_frame": {"first_frame": link},
        "reference_audios": {"reference_images": link},
        "save_poster": {"output_path": "boat.mp4"},
    }
    given: dict[type[BaseOperator], dict[str, Any]] = {
        GenerateVideoOperator: {"prompt": "A boat", **needed.get(name, {})},
        GenerateVideoBatchOperator: {
            "rows": [{"name": "boat"}],
            "template": {"prompt": "A boat", "output_path": "boat.mp4"},
            "manifest_path": "manifest.jsonl",
        },
        CheckRowsOperator: {"rows": [{"name": "boat"}], "template": {"prompt": "A boat"}},
        WriteReportOperator: {"videos": "video", "rows": [{"name": "boat"}], "report_path": "report.html"},
        DownloadVideoOperator: {"generation_id": "asyntask_1", "output_path": "boat.mp4"},
        CreateAssetGroupOperator: {"name": "lamps"},
        CreateAssetOperator: {"group_id": "group-1", "file" if name != "url" else "name": "lamp.png"},
        CreateAssetsOperator: {"group_id": "group-1", "files": "*.png"},
        DeleteAssetOperator: {"asset_id": "asset-1"},
        DeleteAssetGroupOperator: {"group_id": "group-1"},
        ReviewVideosOperator: {"videos": finished},
        VideoStatusSensor: {"generation_id": "asyntask_1"},
        AssetStatusSensor: {"asset_id": "asset-1"},
    }
    return given.get(kind, {})


def outcome(kind: type[BaseOperator], name: str, parameters: dict[str, Any], value: Any, *, native: bool) -> str:
    """How far the operator gets."""
    context: Any = {"ti": _TaskInstance(), "value": value}
    try:
        with DAG("any", schedule=None, render_template_as_native_obj=native):
            operator = kind(task_id="any", **parameters)
    except (InvalidRequestError, TypeError, ValueError) as error:
        is_ours = isinstance(error, InvalidRequestError) or kind is ReviewVideosOperator
        return "refused while the DAG is parsed" if is_ours else repr(error)
    try:
        # One field, since compiling them all would take most of the time of these tests.
        setattr(operator, name, operator.render_template(getattr(operator, name), context, _environment(native=native)))
        done = f"done: {operator.execute(context)}"
    except (ContactError, BatchRejectedError):
        return "right"
    except InvalidRequestError:
        return "refused when it runs"
    except Exception as error:  # noqa: BLE001  # the test reports what it was
        return repr(error)
    return "right" if kind in WITHOUT_REQUESTS else done


@cache
def _environment(*, native: bool) -> Any:
    """Airflow's own, which compiles a template once."""
    return DAG("any", schedule=None, render_template_as_native_obj=native).get_template_env()


class _TaskInstance(SimpleNamespace):
    dag_id, run_id, task_id, map_index, try_number, max_tries, id = "any", "run", "any", -1, 1, 0, "1"
    log_url = "/dags/any/runs/run/tasks/any"

    def __init__(self) -> None:
        super().__init__(stores=defaultdict(stores.MemoryStore))

    def xcom_push(self, *_: object, **__: object) -> None: ...

    def xcom_pull(self, *_: object, **__: object) -> None: ...

    def get_task_states(self, **_: object) -> dict[str, dict[str, str]]:
        return {}


def runs(kind: type[BaseOperator], name: str) -> Iterator[tuple[str, str, dict[str, Any], Any]]:
    """How a parameter can get a value: the way, the value's name, the parameters, and the value.

    A literal is tried on the worker and deferred, a text on the worker, and a native value deferred.
    """
    named = {**VALUES, **{repr(value): value for value in PARAMETERS[kind][name].also}}
    ways = ["literal", "text", "native"] if name in kind.template_fields else ["literal"]
    waits = {"literal": (False, True), "text": (False,), "native": (True,)}
    can_defer = "deferrable" in PARAMETERS[kind] and name != "deferrable"
    for way in ways:
        for value_name, value in named.items():
            for wait in [{"deferrable": each} for each in waits[way]] if can_defer else [{}]:
                given = value if way == "literal" else "{{ value }}"
                yield way, value_name, {**base(kind, name), **wait, name: given}, value


ALL = [(kind, name) for kind, parameters in PARAMETERS.items() for name in parameters]


@pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda part: getattr(part, "__name__", part))
@pytest.mark.usefixtures("folder")
def test_a_parameter_is_valid_or_refused_before_anything_is_billed(kind: type[BaseOperator], name: str) -> None:
    expected = PARAMETERS[kind][name]
    wrong = []
    for way, value_name, parameters, value in runs(kind, name):
        found = outcome(kind, name, parameters, value, native=way == "native")
        refused = found in ("refused when it runs", "refused while the DAG is parsed")
        is_right = value_name in expected.takes(way) or value_name not in VALUES
        if found != "right" if is_right else not refused:
            wrong.append(f"{way} {value_name}: {found}")
    assert not wrong, "; ".join(wrong)


def test_every_parameter_of_every_operator_has_its_row() -> None:
    found = {
        kind: {
            name
            for init in (
                inspect.unwrap(vars(base_class).get("__init__", object.__init__)) for base_class in kind.__mro__
            )
            if getattr(init, "__module__", "").startswith("airflow_provider_anyfast")
            for name, parameter in inspect.signature(init).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        for package in (operators, sensors)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        for kind in vars(importlib.import_module(module.name)).values()
        if isinstance(kind, type) and issubclass(kind, BaseOperator) and kind.__module__ == module.name
    }
    public = {kind: names for kind, names in found.items() if not kind.__name__.startswith(("_", "JobSensor"))}
    for kind in public.keys() | PARAMETERS.keys():
        assert public.get(kind) == PARAMETERS.get(kind, {}).keys(), kind


@pytest.mark.parametrize("kind", PARAMETERS)
def test_no_operator_has_a_failure_or_retry_callback_of_its_own(kind: type[BaseOperator]) -> None:
    """The scheduler of Airflow 3.4.0b2 crashes when a task that has one is killed and has a retry left."""
    with DAG("any", schedule=None):
        operator = kind(task_id="any", **base(kind, ""))
    assert not operator.on_failure_callback
    assert not operator.on_retry_callback
