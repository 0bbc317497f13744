"""What a video will cost in tokens, estimated before it is billed, and what tokens cost in money.

Seedance counts the pixels of all frames, divided by 1024, at 24 frames a second plus one frame (AnyFast's own example:
108,900 tokens for 5 seconds of 720p, docs.anyfast.ai, seedance-task-query).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_anyfast.client.responses import Usage

FRAME_RATE = 24
DEFAULT_RESOLUTION, DEFAULT_SECONDS = "720p", 5
_SMALLEST_MONEY = Decimal("0.0001")
_MOST_TOKENS = 10**12

_SIZES: dict[str, dict[str, tuple[int, int]]] = {
    "480p": {"16:9": (864, 496), "4:3": (752, 560), "1:1": (640, 640), "21:9": (992, 432)},
    "720p": {"16:9": (1280, 720), "4:3": (1112, 834), "1:1": (960, 960), "21:9": (1470, 630)},
    "1080p": {"16:9": (1920, 1080), "4:3": (1664, 1248), "1:1": (1440, 1440), "21:9": (2206, 946)},
    "2k": {"16:9": (2560, 1440), "4:3": (2224, 1668), "1:1": (1920, 1920), "21:9": (2940, 1260)},
    "4k": {"16:9": (3840, 2160), "4:3": (3328, 2496), "1:1": (2880, 2880), "21:9": (4412, 1892)},
}
"""Width and height in pixels, as Seedance publishes them; portrait ratios have width and height swapped."""
_PORTRAIT = {"3:4": "4:3", "9:16": "16:9"}
_RENDERED_AT = {"720p": "480p", "1080p": "720p", "2k": "1080p"}
"""The resolution that ultra renders before it upscales; both are billed."""


def estimate_tokens(body: Mapping[str, Any], *, longest: int, reference_seconds: int) -> int | None:
    """Estimated tokens of a request as it is sent; None if its resolution is not listed or its duration is no number.

    Where the model decides, this takes the maximum: a ratio of ``adaptive``, a duration of -1, and the length of
    reference videos, which are billed too.

    Args:
        body: the JSON of the submission.
        longest: seconds of the longest video that the model makes.
        reference_seconds: seconds of reference videos that the model accepts.
    """
    resolution = str(body.get("resolution") or DEFAULT_RESOLUTION)
    pixels = pixels_of(resolution, str(body.get("ratio") or "adaptive"))
    if pixels is None:
        return None
    try:
        duration = int(body.get("duration") or DEFAULT_SECONDS)
    except (TypeError, ValueError):  # passed through ``extra_body``
        return None
    seconds = longest if duration < 0 else duration
    if any(item.get("type") == "video_url" for item in body.get("content", ()) if isinstance(item, dict)):
        seconds += reference_seconds
    tokens = _tokens(pixels, seconds)
    if str(body.get("model", "")).endswith("-ultra") and resolution in _RENDERED_AT:
        tokens += _tokens(pixels_of(_RENDERED_AT[resolution], "adaptive") or 0, seconds)
    return tokens


def pixels_of(resolution: str, ratio: str) -> int | None:
    """Pixels of one frame, or the most that the model can choose. None for a resolution that is not listed."""
    sizes = _SIZES.get(resolution)
    if sizes is None:
        return None
    width, height = sizes.get(_PORTRAIT.get(ratio, ratio)) or max(sizes.values(), key=lambda size: size[0] * size[1])
    return width * height


def check_budget(tokens: int | None, most: int | None) -> None:
    """Refuses a video that is expected to cost more than ``most`` tokens, or has no estimate.

    Raises:
        InvalidRequestError: it names the expected tokens.
    """
    if most is not None and (tokens is None or tokens > most):
        expected = "an unknown number of tokens" if tokens is None else f"about {tokens:,} tokens"
        raise InvalidRequestError(f"This video would cost {expected}, but max_tokens={most:,}.")


def describe_estimate(tokens: int | None, price_per_million: Decimal | None) -> str:
    """An estimate, for a log line."""
    if tokens is None:
        return "no estimate of its cost"
    cost = money(tokens, price_per_million)
    return f"about {tokens:,} tokens" + (f", which is {cost}" if cost else "")


def billed_tokens(usage: Usage) -> int | None:
    """The tokens that AnyFast reports as billed, including upscaling; None if it reports none."""
    parts = (usage.total_tokens, usage.super_resolution_tokens)
    return sum(part or 0 for part in parts) if any(part is not None for part in parts) else None


def money(tokens: int | None, price_per_million: Decimal | None) -> str | None:
    """What ``tokens`` cost, to a hundredth of a cent, as text that keeps every digit; None if either is unknown.

    So is a number of tokens that no video has: a video that is paid for must not fail because of it.
    """
    if tokens is None or price_per_million is None or not 0 <= tokens <= _MOST_TOKENS:
        return None
    return str((Decimal(tokens) * price_per_million / 1_000_000).quantize(_SMALLEST_MONEY))


def _tokens(pixels: int, seconds: int) -> int:
    return pixels * (FRAME_RATE * seconds + 1) // 1024
