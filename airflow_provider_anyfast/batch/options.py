"""The parameters of a batch, and the options that its segments derive from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.parameters import Parameters, Problem, TaskParameters, literal_problems
from airflow_provider_anyfast.seedance.request import VideoRequest
from airflow_provider_anyfast.values import (
    FilePath,
    Id,
    InFlight,
    OnLostSubmission,
    OptionalFilePath,
    OptionalSeconds,
    OptionalText,
    OptionalWhole,
    Seconds,
    Share,
    Switch,
    Texts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

OnRowFailure = Literal["continue", "fail"]
DuplicateRows = Literal["keep", "skip", "fail"]
IfExists = Literal["overwrite", "skip"]


TEMPLATE_PARAMETERS = frozenset(VideoRequest.model_fields) - {"asset_group"} | {"output_path"}
"""The parameters that a template may contain."""


def _without_wrong_literals(template: dict[str, Any]) -> dict[str, Any]:
    """The template. A value without Jinja is the same in every row, so it is checked without one."""
    if unknown := sorted(template.keys() - TEMPLATE_PARAMETERS):
        known = ", ".join(sorted(TEMPLATE_PARAMETERS))
        raise PydanticCustomError("anyfast", f"it has {', '.join(unknown)}, but takes only {known}")
    if sentences := _literal_problems(template, asset_group="any"):
        raise PydanticCustomError("anyfast", "; ".join(sentences))
    return template


def _literal_problems(template: dict[str, Any], *, asset_group: str | None) -> list[str]:
    given = {name: value for name, value in template.items() if name != "output_path" and value is not None}
    return literal_problems(VideoRequest, {**given, "asset_group": asset_group})


def _page(path: str | None) -> str | None:
    if path is not None and not path.lower().endswith((".html", ".htm")):
        raise PydanticCustomError("anyfast", "a report is an HTML page, so its path must end in .html")
    return path


ReportPath = Annotated[OptionalFilePath, AfterValidator(_page)]
"""The path of the report, or None."""


class BatchParameters(TaskParameters):
    """The parameters of a batch, except its rows."""

    template: Annotated[dict[str, Any], AfterValidator(_without_wrong_literals)] = Field(default_factory=dict)
    manifest_path: FilePath = "manifest"
    deferrable: Switch = False
    failure_threshold: Share = 0.0
    max_in_flight: InFlight = 16
    max_active: OptionalWhole = None
    max_tokens: OptionalWhole = None
    poll_interval: OptionalSeconds = None
    timeout: Seconds = 3600.0
    on_row_failure: OnRowFailure = "continue"
    on_lost_submission: OnLostSubmission = "fail"
    key_column: OptionalText = None
    duplicate_rows: DuplicateRows = "keep"
    required: Texts = ()
    if_exists: IfExists = "overwrite"
    limit: OptionalWhole = None
    asset_group: OptionalText = None
    report_path: ReportPath = None
    save_poster: Switch = False

    def problems(self) -> Iterator[Problem]:
        """Template references that need an asset group, and posters without saved videos."""
        if self.save_poster and "output_path" not in self.template:
            yield Problem(frozenset({"template", "save_poster"}), "save_poster=True needs a template with output_path")
        for sentence in _literal_problems(self.template, asset_group=self.asset_group):
            yield Problem(frozenset({"template", "asset_group"}), f"template: {sentence}")


class RowsParameters(Parameters):
    """The parameters of a table whose rows are checked."""

    template: Annotated[dict[str, Any], AfterValidator(_without_wrong_literals)] = Field(default_factory=dict)
    prompt_param: OptionalText = None
    key_column: OptionalText = None
    asset_group: OptionalText = None

    def problems(self) -> Iterator[Problem]:
        """Template references that need an asset group."""
        for sentence in _literal_problems(self.template, asset_group=self.asset_group):
            yield Problem(frozenset({"template", "asset_group"}), f"template: {sentence}")


class MappedReportParameters(Parameters):
    """The parameters of a report of mapped tasks."""

    videos: Id = "videos"
    report_path: Annotated[FilePath, AfterValidator(_page)] = "report.html"
    key_column: OptionalText = None
    failure_threshold: Share = 0.0


@dataclass(frozen=True)
class BatchOptions:
    """What a segment needs to know about the task.

    Attributes:
        given: the parameters of the operator.
        identity: name of the task instance in the manifest.
        attempt: the try of the task.
        max_tries: Airflow's number, which distinguishes a clear from a retry.
        began_at: start of the attempt in Unix seconds.
    """

    given: BatchParameters
    identity: str
    attempt: int
    max_tries: int
    began_at: float

    def deadline_of(self, submitted_at: float) -> float:
        """Unix seconds after which this attempt gives up a row that was submitted at ``submitted_at``."""
        return max(submitted_at, self.began_at) + self.given.timeout
