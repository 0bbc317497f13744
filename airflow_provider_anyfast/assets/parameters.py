"""The parameters of the operators that create and delete assets and groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from airflow_provider_anyfast.parameters import Problem, TaskParameters
from airflow_provider_anyfast.values import (
    FilePath,
    FilledText,
    GivenIds,
    Id,
    InFlight,
    OptionalFilePath,
    OptionalId,
    OptionalSeconds,
    OptionalText,
    Seconds,
    Switch,
    absent_if_blank,
    decode,
    is_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

IfAssetExists = Literal["reuse", "fail"]
IfGroupExists = Literal["reuse", "fail", "create"]
UploadMethod = Literal["auto", "data_uri", "multipart"]

MAX_NAME_LENGTH = 64
"""Maximum number of characters in a name."""


def _known_name(name: str) -> str:
    if len(name) > MAX_NAME_LENGTH:
        raise PydanticCustomError(
            "anyfast", f"it has {len(name)} characters, but AnyFast accepts 1 to {MAX_NAME_LENGTH}"
        )
    if not _is_text(name):
        raise PydanticCustomError("anyfast", "it contains bytes that are not text")
    return name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


AssetName = Annotated[FilledText, AfterValidator(_known_name)]
"""The name of an asset or a group."""
OptionalName = Annotated[AssetName | None, BeforeValidator(absent_if_blank)]
AssetType = Literal["Image", "Video", "Audio"]
OptionalType = Annotated[AssetType | None, BeforeValidator(absent_if_blank)]


def _files(value: Any) -> Any:
    """A folder or a pattern as text, or a list of files; a template may render a list as text."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = decode(value)
    is_one = isinstance(value, str | bytes | Mapping) or is_path(value) or not isinstance(value, Iterable)
    return value if is_one else tuple(value)


class GroupParameters(TaskParameters):
    """The parameters of a new group."""

    name: AssetName = "group"
    if_exists: IfGroupExists = "reuse"


class WaitParameters(TaskParameters):
    """How to wait until assets are Active."""

    deferrable: Switch = False
    wait_until_active: bool = True
    poll_interval: OptionalSeconds = None
    timeout: Seconds = 600.0


class AssetParameters(WaitParameters):
    """The parameters of a new asset."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"url", "file", "name", "asset_type"})

    group_id: Id = "group"
    url: OptionalText = None
    file: OptionalFilePath = None
    name: OptionalName = None
    asset_type: OptionalType = None
    upload: UploadMethod = "auto"
    if_exists: IfAssetExists = "reuse"

    def problems(self) -> Iterator[Problem]:
        """Two sources, or none."""
        if (self.url is None) == (self.file is None):
            yield Problem(frozenset({"url", "file"}), "give either url or file, and not both")


class DeletionParameters(TaskParameters):
    """Which assets to delete: these ids, or the one with this name in this group."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"group_id", "name"})

    asset_id: GivenIds | None = None
    group_id: OptionalId = None
    name: OptionalName = None

    def problems(self) -> Iterator[Problem]:
        """An ambiguous or missing choice."""
        by_name = (self.group_id is not None, self.name is not None)
        if any(by_name) if self.asset_id is not None else not all(by_name):
            sentence = "give either asset_id, or group_id and name"
            yield Problem(frozenset({"asset_id", "group_id", "name"}), sentence)


class GroupDeletionParameters(TaskParameters):
    """Which groups to delete: this id, or all with this name."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"group_id", "name"})

    group_id: OptionalId = None
    name: OptionalName = None

    def problems(self) -> Iterator[Problem]:
        """An ambiguous or missing choice."""
        if (self.group_id is None) == (self.name is None):
            yield Problem(frozenset({"group_id", "name"}), "give either group_id or name")


class BulkParameters(WaitParameters):
    """The parameters of many new assets."""

    meant_if_given: ClassVar[frozenset[str]] = frozenset({"asset_type"})

    group_id: Id = "group"
    files: Annotated[FilePath | tuple[FilePath, ...], BeforeValidator(_files)] = "files"
    asset_type: OptionalType = None
    upload: UploadMethod = "auto"
    max_in_flight: InFlight = 8
