"""Why a job failed, as an error that says whether another try can help."""

from __future__ import annotations

import pytest

from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    AssetFailedError,
    GenerationFailedError,
    GenerationRejectedError,
    ModerationError,
)
from airflow_provider_anyfast.client.job_failures import asset_failure, generation_failure
from airflow_provider_anyfast.client.responses import Asset, AssetError, Generation, Outcome


def failed(code: str = "", message: str = "") -> AnyFastError:
    return generation_failure(
        Generation("asyntask_1", "FAILURE", Outcome.FAILED, failure_code=code, failure_message=message, request_id="r1")
    )


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("OutputVideoSensitiveContentDetected", "refused", ModerationError),
        ("OutputVideoSensitiveContentDetected.PolicyViolation", "", ModerationError),
        ("InputImageSensitiveContentDetected.PrivacyInformation", "content[1]", ModerationError),
        ("***.PrivacyInformation", "", ModerationError),
        ("", "The request failed because the output video may contain sensitive information.", ModerationError),
        ("", "[OutputAudioSensitiveContentDetected] refused", ModerationError),
        ("ContentRestricted", "", ModerationError),
        ("", "It may violate the copyright of others", ModerationError),
        ("InvalidParameter", "duration", GenerationRejectedError),
        ("***.PixelCountTooSmall", "", GenerationRejectedError),
        ("", "[***.DurationTooLong] the reference video", GenerationRejectedError),
        ("FormatUnsupported", "", GenerationRejectedError),
        ("MissingParameter.prompt", "", GenerationRejectedError),
        ("InternalServiceError", "try again", GenerationFailedError),
        ("", "任务超时（1440分钟）", GenerationFailedError),
        ("", "expired", GenerationFailedError),
        ("", "", GenerationFailedError),
    ],
)
def test_a_failed_generation_says_whether_another_try_can_help(
    code: str, message: str, kind: type[AnyFastError]
) -> None:
    error = failed(code, message)
    assert type(error) is kind
    assert error.retryable is (kind is GenerationFailedError)
    assert (error.code, error.request_id, error.generation_id) == (code, "r1", "asyntask_1")


def test_a_failure_says_what_happened_what_it_cost_and_what_comes_next() -> None:
    assert str(failed("InternalServiceError", "try again")) == (
        "Generation asyntask_1 ended as FAILURE: [InternalServiceError] try again.\n"
        "AnyFast refunds it, so nothing stays billed.\n"
        "The next attempt submits a new video and pays for it."
    )
    assert "AnyFast gave no reason" in str(failed())
    assert "Change the prompt or the references" in str(failed("ContentRestricted"))
    assert "Change the parameters" in str(failed("InvalidParameter"))


def test_a_failure_does_not_show_signatures() -> None:
    assert "ab12" not in str(failed("", "cannot read https://host/x?sig=ab12"))


def broken(code: str = "", message: str = "") -> AssetFailedError:
    return asset_failure(
        Asset(id="asset-1", name="hero", status="Failed", error=AssetError(code=code, message=message))
    )


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("DownloadFailed", "must be public"),
        ("TypeMismatch", "does not have the given asset type"),
        ("FormatUnsupported", "Convert it"),
        ("FormatUndetectable", "damaged"),
        ("FileSizeTooLarge", "Make the file smaller"),
        ("FaceMismatch", "The face"),
        ("ContentRestricted", "content policy"),
        ("TranscodingFailed", "encode it again"),
        ("DurationTooShort", "Make it longer"),
        ("DurationTooLong", "Make it shorter"),
        ("PixelCountTooSmall", "Make it larger"),
        ("WidthTooLarge", "Make it smaller"),
        ("FpsTooLow", "Raise"),
        ("FpsTooHigh", "Lower"),
        ("InputImageSensitiveContentDetected", "content policy"),
        ("InputImageSensitiveContentDetected.PrivacyInformation", "real person"),
        ("***.PixelCountTooSmall", "Make it larger"),
        ("SomethingNew", "Use another file"),
        ("", "Use another file"),
    ],
)
def test_a_failed_asset_has_advice(code: str, advice: str) -> None:
    error = broken(code, "no")
    assert advice in str(error)
    assert error.code == code
    assert not error.retryable


def test_a_failed_asset_says_what_it_cost() -> None:
    assert str(broken("FaceMismatch", "Face verification failed")) == (
        "Asset asset-1 (hero) failed: [FaceMismatch] Face verification failed. The face is not that of the person who "
        "was verified.\n"
        "The asset's creation is billed.\n"
        "Use another file, since this one fails again, and clear the task: this creates a new asset and pays for it."
    )
    assert "AnyFast gave no reason" in str(broken())
    assert "failed: only words." in str(broken("", "only words"))
