"""Why a job failed, as an exception that says whether another try can help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_anyfast.client.error_parsing import is_bad_parameter, is_moderation, with_english
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetFailedError,
    GenerationFailedError,
    GenerationRejectedError,
    LinkMissingError,
    ModerationError,
)
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.responses import Asset, Generation


def generation_failure(generation: Generation) -> AnyFastError:
    """Why a generation failed, as an exception that says whether another try can help."""
    code, message = generation.failure_code, generation.failure_message
    if is_moderation(code, message):
        kind: type[AnyFastError] = ModerationError
    elif is_bad_parameter(code, message):
        kind = GenerationRejectedError
    else:
        kind = GenerationFailedError
    return kind(
        f"Generation {generation.generation_id} ended as {generation.status}: {_reason(code, message)}.",
        code=code,
        request_id=generation.request_id,
        generation_id=generation.generation_id,
    )


def missing_link(generation_id: str) -> LinkMissingError:
    """The error for a generation that AnyFast reports as succeeded, without a link to its video."""
    return LinkMissingError(
        f"AnyFast reports that generation {generation_id} has succeeded, but its response contains no http(s) link to "
        "the video.",
        generation_id=generation_id,
    )


def asset_failure(asset: Asset) -> AssetFailedError:
    """Why AnyFast could not use a file. Final: the same file fails again, and its creation stays billed."""
    code, message = asset.error.code, asset.error.message
    return AssetFailedError(
        f"Asset {asset.id} ({asset.name}) failed: {_reason(code, message)}. {_asset_advice(code)}", code=code
    )


def _reason(code: str, message: str) -> str:
    """AnyFast's own words, with a translation if they are Chinese."""
    reason = redact(f"[{code}] {message}" if code else message).strip().rstrip(".")
    return with_english(reason) or "AnyFast gave no reason"


_ASSET_ADVICE = {
    "DownloadFailed": "AnyFast could not fetch the URL: it must be public.",
    "TypeMismatch": "The file does not have the given asset type.",
    "FormatUnsupported": "Convert it to a format that AnyFast takes.",
    "FormatUndetectable": "The file is damaged or of an unknown format.",
    "FileSizeTooLarge": "Make the file smaller.",
    "FaceMismatch": "The face is not that of the person who was verified.",
    "ContentRestricted": "The content policy refuses it.",
    "TranscodingFailed": "The file may be damaged; encode it again.",
    "TooShort": "Make it longer.",
    "TooLong": "Make it shorter.",
    "TooSmall": "Make it larger; AnyFast counts the pixels of a frame.",
    "TooLarge": "Make it smaller; AnyFast counts the pixels of a frame.",
    "TooLow": "Raise its frame rate to at least 24.",
    "TooHigh": "Lower its frame rate to at most 60.",
    "SensitiveContentDetected": "The content policy refuses it.",
    "PrivacyInformation": "It seems to show a real person, which AnyFast accepts only after verification.",
}
"""By the end of the code, since the gateway masks dotted codes."""


def _asset_advice(code: str) -> str:
    return next((advice for end, advice in _ASSET_ADVICE.items() if code.endswith(end)), "Use another file.")
