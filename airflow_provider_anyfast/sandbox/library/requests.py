"""The request bodies of the asset library, checked field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from airflow_provider_anyfast.sandbox.api.bodies import read_object
from airflow_provider_anyfast.sandbox.api.responses import (
    ApiError,
    ApiResponse,
    invalid_parameter,
    missing_parameter,
)

if TYPE_CHECKING:
    from fastapi import Request as HttpRequest
    from pydantic_core import ErrorDetails

GroupType = Literal["AIGC", "LivenessFace"]
AssetType = Literal["Image", "Video", "Audio"]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
LimitedName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class AssetRequest(BaseModel):
    """A body of the asset library: unknown fields are ignored, known ones must have their JSON type."""

    model_config = ConfigDict(strict=True)


class CreateGroup(AssetRequest):
    """CreateAssetGroup."""

    Name: LimitedName
    GroupType: str = "AIGC"
    Description: str = Field(default="", max_length=300)
    ProjectName: str = "default"
    model: str = "volc-asset"


class CreateAsset(AssetRequest):
    """CreateAsset in its JSON form."""

    GroupId: NonEmpty
    AssetType: AssetType
    URL: NonEmpty
    Name: str = Field(default="", max_length=64)
    model: str = "volc-asset"


class ById(AssetRequest):
    """GetAsset, GetAssetGroup, DeleteAsset, DeleteAssetGroup."""

    Id: NonEmpty


class UpdateGroup(ById):
    """UpdateAssetGroup."""

    Name: LimitedName


class UpdateAsset(ById):
    """UpdateAsset: a new name, another group, or both."""

    Name: LimitedName | None = None
    GroupId: NonEmpty | None = None


class GroupFilter(AssetRequest):
    """Which groups ListAssetGroups returns."""

    Name: str = ""
    Id: str | None = None
    GroupIds: list[str] | None = None
    GroupType: str | None = None


class AssetFilter(AssetRequest):
    """Which assets ListAssets returns."""

    Name: str = ""
    Ids: list[str] | None = None
    GroupIds: list[str] | None = None
    GroupType: str | None = None
    Statuses: list[Literal["Processing", "Active", "Failed"]] | None = None


class Page(AssetRequest):
    """What both lists share: paging and sorting."""

    model: NonEmpty
    PageNumber: int = Field(default=1, ge=1)
    PageSize: int = Field(default=10, ge=1, le=100)
    SortBy: Literal["CreateTime", "UpdateTime", "GroupId"] = "CreateTime"
    SortOrder: Literal["Desc", "Asc"] = "Desc"

    def refuse_deep_paging(self, limit: int) -> None:
        """Raise an ApiError when the page ends after item ``limit``."""
        if self.PageNumber * self.PageSize > limit:
            raise ApiError(invalid_parameter("PageNumber", f"PageNumber x PageSize must not exceed {limit}."))


class ListGroups(Page):
    """ListAssetGroups."""

    Filter: GroupFilter


class ListAssets(Page):
    """ListAssets."""

    Filter: AssetFilter


class CreateSession(AssetRequest):
    """CreateVisualValidateSession."""

    CallbackURL: NonEmpty


class SessionResult(AssetRequest):
    """GetVisualValidateResult."""

    BytedToken: NonEmpty


Request = TypeVar("Request", bound=AssetRequest)


async def read_json(kind: type[Request], request: HttpRequest) -> Request:
    """Return the JSON body of an HTTP request as a request of ``kind``.

    Raises:
        ApiError: 400, the body is not a JSON object, or a field is missing or wrong; the first one is named.
    """
    return check_request(kind, await read_object(request))


def check_request(kind: type[Request], fields: dict[str, object]) -> Request:
    """Return ``fields`` as a request of ``kind``; a field that is null counts as absent.

    Raises:
        ApiError: 400, naming the first field that is missing or wrong.
    """
    present = {name: value for name, value in fields.items() if value is not None}
    try:
        return kind.model_validate(present)
    except ValidationError as error:
        raise ApiError(_refusal_of(error.errors()[0])) from None


def _refusal_of(error: ErrorDetails) -> ApiResponse:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing" or error.get("input") == "":
        return missing_parameter(name)
    return invalid_parameter(name, error["msg"])
