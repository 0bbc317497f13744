"""The account: what each key has and was billed, and the number of requests for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_anyfast.sandbox.generations.generation import ReferenceKind
from airflow_provider_anyfast.sandbox.generations.results import result_of

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.library.asset_library import Asset, AssetGroup
    from airflow_provider_anyfast.sandbox.state import Key, Sandbox


class _Report(BaseModel):
    """A part of the report: read by attribute or, like the JSON that it is sent as, by key."""

    model_config = ConfigDict(frozen=True)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class Billed(_Report):
    """What was billed.

    ``generations`` counts every accepted submission, including refunded ones; ``tokens`` excludes refunded generations.
    """

    asset_groups: int
    assets: int
    generations: int
    refunded_generations: int
    tokens: int


class GroupReport(_Report):
    """A group of assets; the time is Unix seconds."""

    id: str
    name: str
    created_at: float


class AssetReport(_Report):
    """An asset; ``bytes`` is ``None`` for content at a URL, the time is Unix seconds."""

    id: str
    name: str
    group_id: str
    asset_type: str
    status: str
    billing_model: str
    bytes: int | None
    has_thumbnail: bool
    created_at: float


class ReferenceReport(_Report):
    """A reference of a generation."""

    kind: ReferenceKind
    role: str
    name: str
    source: str


class GenerationReport(_Report):
    """A generation; times are Unix seconds, ``request`` is the body with data URIs cut short.

    ``fail_reason`` and the links are ``None`` if there are none.
    """

    id: str
    model: str
    prompt: str
    status: str
    progress: int
    tokens: int
    refunded: bool
    fail_reason: str | None
    video_url: str | None
    last_frame_url: str | None
    references: list[ReferenceReport]
    resolution: str
    ratio: str
    duration: int
    seed: int
    submitted_at: float
    finished_at: float | None
    request: dict[str, Any]


class KeyReport(_Report):
    """One API key, masked, and everything that belongs to it, oldest first."""

    account: str
    key: str
    billed: Billed
    groups: list[GroupReport]
    assets: list[AssetReport]
    generations: list[GenerationReport]


class RequestCounts(_Report):
    """How many requests the AnyFast interface received."""

    total: int
    by_call: dict[str, int]


class AccountReport(_Report):
    """The whole account."""

    accounts: list[KeyReport]
    requests: RequestCounts


def report(sandbox: Sandbox) -> AccountReport:
    """Return the report of ``sandbox`` as it is now."""
    with sandbox.lock:
        by_call = sandbox.log.by_call()
        return AccountReport(
            accounts=[_key(key, sandbox) for key in sandbox.keys.values()],
            requests=RequestCounts(total=sum(by_call.values()), by_call=by_call),
        )


def billed_in_all(sandbox: Sandbox) -> Billed:
    """Return what all keys together were billed."""
    with sandbox.lock:
        every = [_billed(key, sandbox) for key in sandbox.keys.values()]
    return Billed(**{name: sum(billed[name] for billed in every) for name in Billed.model_fields})


def _key(key: Key, sandbox: Sandbox) -> KeyReport:
    return KeyReport(
        account=key.account,
        key=key.masked,
        billed=_billed(key, sandbox),
        groups=[_group(group) for group in key.library.groups.values()],
        assets=[_asset(asset, sandbox.clock.now()) for asset in key.library.assets.values()],
        generations=[_generation(generation, sandbox) for generation in _generations(key, sandbox)],
    )


def _generations(key: Key, sandbox: Sandbox) -> list[Generation]:
    return [generation for generation in sandbox.generations.values() if generation.key == key.value]


def _billed(key: Key, sandbox: Sandbox) -> Billed:
    now = sandbox.clock.now()
    generations = _generations(key, sandbox)
    kept = [generation for generation in generations if not generation.refunded(now)]
    return Billed(
        asset_groups=key.library.billed_groups,
        assets=key.library.billed_assets,
        generations=len(generations),
        refunded_generations=len(generations) - len(kept),
        tokens=sum(generation.spec.tokens for generation in kept),
    )


def _group(group: AssetGroup) -> GroupReport:
    return GroupReport(id=group.id, name=group.name, created_at=group.created_at)


def _asset(asset: Asset, now: float) -> AssetReport:
    return AssetReport(
        id=asset.id,
        name=asset.name,
        group_id=asset.group_id,
        asset_type=asset.asset_type,
        status=asset.status(now),
        billing_model=asset.billing_model,
        bytes=asset.bytes,
        has_thumbnail=asset.media is not None and asset.media.thumbnail is not None,
        created_at=asset.created_at,
    )


def _generation(generation: Generation, sandbox: Sandbox) -> GenerationReport:
    now = sandbox.clock.now()
    spec, progress = generation.spec, generation.progress(now)
    succeeded = progress.status == "SUCCESS"
    result = result_of(generation, sandbox.signer, sandbox.settings.link_seconds) if succeeded else None
    return GenerationReport(
        id=generation.id,
        model=spec.model,
        prompt=spec.prompt,
        status=progress.status,
        progress=progress.percent,
        tokens=spec.tokens,
        refunded=generation.refunded(now),
        fail_reason=generation.outcome.reason if progress.status == "FAILURE" else None,
        video_url=result.video_url if result else None,
        last_frame_url=result.last_frame_url if result else None,
        references=[
            ReferenceReport(kind=item.kind, role=item.role, name=item.name, source=item.source)
            for item in spec.references
        ],
        resolution=spec.resolution,
        ratio=spec.ratio,
        duration=spec.duration,
        seed=spec.seed,
        submitted_at=generation.submitted_at,
        finished_at=progress.finished_at,
        request=generation.request,
    )
