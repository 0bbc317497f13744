"""The options of a sandbox, as one frozen value."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from airflow_provider_anyfast.sandbox.faults import Fault

_SHOWN = 4


def masked(key: str) -> str:
    """Return ``key`` in a form that can be recognized but not used: ``sand…-key``."""
    return f"{key[:_SHOWN]}…{key[-_SHOWN:]}" if len(key) > 2 * _SHOWN else "…"


class ApiKey(BaseModel):
    """A key and its account; without one, the key has an account of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str = Field(min_length=1, repr=False)
    account: str | None = None

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read ``KEY`` or ``KEY=account``."""
        value, _, account = text.partition("=")
        return cls(value=value, account=account or None)


class SandboxSettings(BaseModel):
    """The options; the defaults are strict and quick. Times are seconds.

    Args:
        api_keys: the keys that are accepted.
        models: the models of every key's plan; ``None`` means all. A name that the sandbox does not know counts as a
            model of another family, whose parameters are not checked.
        completion_seconds: from submission to ``SUCCESS``.
        completion_spread: how much single videos differ from that, 0 (not at all) to 1 (a lot).
        asset_seconds: how long an asset is ``Processing``.
        asset_index_seconds: how long a new asset is not found.
        group_index_seconds: how long a new group is not found, neither in lists nor by CreateAsset.
        quota_tokens: what each account may spend; ``None`` means no limit.
        link_hours: the life of a result link.
        submit_status: the ``status`` in the response to a submission.
        unknown_task: the HTTP status of a query about an unknown task.
        require_group_type: whether ListAssets without ``GroupType`` is refused.
        fail_reason_copies_url: whether a success also has the link in ``fail_reason``.
        result_url_on_failure: what a failure has there: nothing, an empty text, or the reason of the failure.
        query_shape: the shape of a status response, one of the known ones.
        billing_pages: whether a key can read its billing log and its balance, or how it is refused.
        billing_log_ids: whether a charge names its task at once; otherwise only refunds and settlements do.
        billing_log_delay: how late a row is in the log.
        billing_log_foreign: how many charges of other programs that share the key come with each submission.
        clock_ahead: by how much the sandbox's clock, which its ``Date`` header shows, is ahead; may be negative.
        allowed_hosts: host names under which the sandbox serves its own pages, besides localhost and its address.
        faults: the faults that are switched on at the start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_keys: tuple[ApiKey, ...] = Field(default=(ApiKey(value="sandbox-key"),), min_length=1)
    models: tuple[str, ...] | None = None
    completion_seconds: float = Field(default=8, ge=0)
    completion_spread: float = Field(default=0, ge=0, le=1)
    asset_seconds: float = Field(default=2, ge=0)
    asset_index_seconds: float = Field(default=0, ge=0)
    group_index_seconds: float = Field(default=0, ge=0)
    quota_tokens: int | None = Field(default=None, ge=0)
    link_hours: float = Field(default=24, gt=0)
    submit_status: Literal["", "queued"] = ""
    unknown_task: Literal[400, 404] = 400
    require_group_type: bool = True
    fail_reason_copies_url: bool = False
    result_url_on_failure: Literal["omit", "empty", "reason"] = "omit"
    query_shape: Literal["wrapper", "flat", "flat-content", "alibaba"] = "wrapper"
    billing_pages: Literal["off", "off-html", "unauthorized", "forbidden", "limited", "on"] = "off"
    billing_log_ids: bool = False
    billing_log_delay: float = Field(default=0, ge=0)
    billing_log_foreign: int = Field(default=0, ge=0)
    clock_ahead: float = 0
    allowed_hosts: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def link_seconds(self) -> float:
        """The life of a result link in seconds."""
        return self.link_hours * 3600

    @property
    def expired_age(self) -> float:
        """How many seconds ago a generation ended whose link has expired: an hour more than the link's life."""
        return self.link_seconds + 3600

    @field_validator("api_keys")
    @classmethod
    def _each_key_once(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        if len({key.value for key in keys}) < len(keys):
            raise ValueError("an API key is given twice")
        return keys
