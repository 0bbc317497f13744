"""Why a job failed, as the exception that tells whether another try can help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.error_parsing import is_bad_parameter, is_moderation
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetFailedError,
    GenerationFailedError,
    GenerationRejectedError,
    ModerationError,
)
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.responses import Asset, Generation


def generation_failure(task: Generation) -> AnyFastError:
    """Why a generation failed, as the exception that tells whether another try can help."""
    code, message = task.failure_code, task.failure_message
    if is_moderation(code, message):
        kind: type[AnyFastError] = ModerationError
        outlook = "The same prompt and references will be refused again: change them."
    elif is_bad_parameter(code, message):
        kind, outlook = GenerationRejectedError, "The same request will fail again: change it."
    else:
        kind, outlook = GenerationFailedError, "The next attempt submits a new one."
    reason = redact(f"[{code}] {message}" if code else message) or "AnyFast gave no reason"
    return kind(
        f"Generation {task.generation_id} ended as {task.status}: {reason}. AnyFast refunds failed videos. {outlook}",
        code=code,
        request_id=task.request_id,
        generation_id=task.generation_id,
    )


def asset_failure(asset: Asset) -> AssetFailedError:
    """Why AnyFast could not use a file. Final: the same file fails again, and its creation stays billed."""
    reason = redact(f"[{asset.error.code}] {asset.error.message}".replace("[] ", "")).strip()
    return AssetFailedError(
        f"Asset {asset.id} ({asset.name}) failed: {reason or 'AnyFast gave no reason'}. "
        f"{_asset_advice(asset.error.code)} Creating it was billed; the same file will fail again.",
        code=asset.error.code,
    )


_ASSET_ADVICE = {
    "DownloadFailed": "AnyFast could not fetch the URL: it must be public.",
    "TypeMismatch": "The file is not of the asset type that was given.",
    "FormatUnsupported": "Convert it to a format that AnyFast takes.",
    "FormatUndetectable": "The file is damaged or of an unknown format.",
    "FileSizeTooLarge": "Make the file smaller.",
    "FaceMismatch": "The face is not that of the person who was verified.",
    "ContentRestricted": "The content policy refuses it.",
    "TranscodingFailed": "The file may be damaged; encode it anew.",
    "TooShort": "Make it longer.",
    "TooLong": "Make it shorter.",
    "TooSmall": "Make it larger; what counts is the pixels of a frame.",
    "TooLarge": "Make it smaller; what counts is the pixels of a frame.",
    "TooLow": "Raise its frame rate to at least 24.",
    "TooHigh": "Lower its frame rate to at most 60.",
    "SensitiveContentDetected": "The content policy refuses it.",
    "PrivacyInformation": "It seems to show a real person, whom AnyFast takes only after verification.",
}
"""By the end of the code, since the gateway masks dotted codes."""


def _asset_advice(code: str) -> str:
    return next((advice for end, advice in _ASSET_ADVICE.items() if code.endswith(end)), "Use another file.")
