"""Links and the files behind them."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import av
import httpx
import pytest
from PIL import Image

from airflow_provider_anyfast.sandbox.media import video_store
from tests.sandbox.client import fetch, image, ok_json, text
from tests.sandbox.media_files import data_uri, picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from av.container import InputContainer

    from airflow_provider_anyfast.sandbox.media.video import Video
    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle

DAY = 24 * 3600


@pytest.fixture
def link(anyfast: Client, clock: FakeClock) -> str:
    """The result link of a short video that has just completed."""
    generation_id = anyfast.generate()
    clock.advance(8)
    url: str = anyfast.task(generation_id)["result_url"]
    return url


def finished(anyfast: Client, clock: FakeClock, *content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    generation_id = anyfast.generate(*content, **fields)
    clock.advance(8)
    return anyfast.task(generation_id)


def opened(url: str) -> InputContainer:
    response = fetch(url)
    assert response.status_code == 200
    return av.open(io.BytesIO(response.content), "r")


@pytest.mark.parametrize(
    ("fields", "size", "seconds"),
    [
        ({"ratio": "16:9", "resolution": "480p", "duration": 4}, (864, 496), 4),
        ({"ratio": "9:16", "resolution": "720p", "duration": 5}, (720, 1280), 5),
        ({"ratio": "21:9", "resolution": "1080p", "duration": 15}, (2206, 946), 15),
    ],
)
def test_a_video_is_playable_and_has_the_requested_size_and_length(
    anyfast: Client, clock: FakeClock, fields: dict[str, Any], size: tuple[int, int], seconds: int
) -> None:
    shown = finished(anyfast, clock, **fields)

    with opened(shown["result_url"]) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height, stream.pix_fmt) == (*size, "yuv420p")
        assert stream.average_rate == 24
        assert file.duration is not None
        assert file.duration / 1_000_000 == pytest.approx(seconds, abs=0.05)
        times = [frame.time for frame in file.decode(stream)]
    assert len(times) == 24 * seconds
    assert times == sorted(set(times))


def test_rendering_does_not_hold_up_other_requests(link: str, anyfast: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def render(video: Video, path: Path) -> None:
        begun.set()
        assert go_on.wait(10)
        path.write_bytes(b"video")

    monkeypatch.setattr(video_store, "render", render)
    with ThreadPoolExecutor() as threads:
        downloads = [threads.submit(fetch, link) for _ in range(2)]
        assert begun.wait(10)
        ok_json(anyfast.submit())
        go_on.set()

    assert [download.result().content for download in downloads] == [b"video", b"video"]


def test_the_index_comes_first_so_that_a_browser_can_start_early(link: str) -> None:
    content = fetch(link).content

    assert content.index(b"moov") < content.index(b"mdat")


def test_the_picture_moves(link: str) -> None:
    with opened(link) as file:
        frames = [bytes(frame.planes[0]) for frame in file.decode(video=0)]

    assert frames[0] != frames[12]


@pytest.mark.parametrize("wanted", [True, False])
def test_there_is_a_tone_when_audio_was_requested(anyfast: Client, clock: FakeClock, *, wanted: bool) -> None:
    with opened(finished(anyfast, clock, generate_audio=wanted)["result_url"]) as file:
        assert [stream.codec_context.name for stream in file.streams.audio] == (["aac"] if wanted else [])
        if wanted:
            loudest = max(max(memoryview(bytes(frame.planes[0])).cast("f")) for frame in file.decode(audio=0))
            assert 0.02 < loudest < 0.2


def test_the_video_shows_its_references(anyfast: Client, clock: FakeClock) -> None:
    plain = finished(anyfast, clock, text("same"), generate_audio=False, ratio="16:9")["result_url"]
    with_picture = finished(
        anyfast, clock, text("same"), image(data_uri(picture())), image(), generate_audio=False, ratio="16:9"
    )["result_url"]

    def reds(url: str) -> int:
        with opened(url) as file:
            frame = next(file.decode(video=0)).reformat(format="rgb24")
        pixels = bytes(frame.planes[0])
        return sum(1 for at in range(0, len(pixels) - 2, 3) if pixels[at] > 150 and pixels[at + 1] < 90)

    assert reds(plain) < 100
    assert reds(with_picture) > 1000


def test_the_last_frame_is_a_png_of_the_videos_size(anyfast: Client, clock: FakeClock) -> None:
    shown = finished(anyfast, clock, return_last_frame=True, ratio="16:9")
    response = fetch(shown["data"]["content"]["last_frame_url"])

    assert response.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as frame:
        assert (frame.format, frame.size) == ("PNG", (864, 496))


def test_an_ultra_video_and_its_original_have_their_own_sizes(anyfast: Client, clock: FakeClock) -> None:
    shown = finished(anyfast, clock, model="seedance-2.0-ultra", resolution="720p", ratio="16:9")

    with opened(shown["result_url"]) as file, opened(shown["original_result_url"]) as original:
        assert (file.streams.video[0].width, original.streams.video[0].width) == (1280, 864)


def test_a_mov_is_a_mov(anyfast: Client, clock: FakeClock) -> None:
    url = finished(anyfast, clock, model="seedance-2.5", output_format="mov")["result_url"]

    assert urlsplit(url).path.endswith(".mov")
    with opened(url) as file:
        assert file.metadata["major_brand"].startswith("qt")


def test_an_odd_number_of_frames_is_kept(anyfast: Client, clock: FakeClock) -> None:
    shown = finished(anyfast, clock, model="doubao-seedance-1-0-pro-250528", frames=29, duration=None)

    with opened(shown["result_url"]) as file:
        assert sum(1 for _ in file.decode(video=0)) == 29


def test_the_link_looks_like_object_storage(link: str) -> None:
    parts = urlsplit(link)

    assert parts.path.startswith("/files/")
    query = parse_qs(parts.query)
    assert query["X-Tos-Expires"] == [str(DAY)]
    assert len(query["X-Tos-Signature"][0]) == 64


def test_the_link_expires_a_day_after_completion(link: str, clock: FakeClock) -> None:
    clock.advance(DAY - 1)
    assert fetch(link).status_code == 200
    clock.advance(1)

    expired = fetch(link)
    assert expired.status_code == 403
    assert expired.headers["Content-Type"] == "application/xml"
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in expired.text


def test_the_lifetime_of_links_can_be_chosen(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(link_hours=1)
    url = finished(anyfast, clock)["result_url"]
    clock.advance(3600)

    assert fetch(url).status_code == 403


def test_the_storage_refuses_an_authorization_header(link: str, sandbox: SandboxHandle) -> None:
    refused = fetch(link, headers={"Authorization": f"Bearer {sandbox.api_key}"})

    assert refused.status_code == 400
    assert "<Code>InvalidArgument</Code>" in refused.text


@pytest.mark.parametrize("change", [("X-Tos-Expires=86400", "X-Tos-Expires=96400"), ("X-Tos-Signature=", "x=")])
def test_an_altered_link_is_refused(link: str, change: tuple[str, str]) -> None:
    altered = fetch(link.replace(*change))

    assert altered.status_code == 403
    assert "<Code>SignatureDoesNotMatch</Code>" in altered.text


def test_a_link_to_a_forgotten_generation_is_a_404(link: str, sandbox: SandboxHandle) -> None:
    sandbox.reset(clock=sandbox.clock)

    gone = fetch(link)
    assert gone.status_code == 404
    assert "<Code>NoSuchKey</Code>" in gone.text


def test_a_link_is_signed_for_get_alone(link: str) -> None:
    head = httpx.head(link)

    assert head.status_code == 403
    assert head.content == b""
    assert fetch(link).headers["Content-Type"] == "video/mp4"


def test_the_storage_host_sends_no_request_id_of_the_gateway(link: str) -> None:
    for response in (fetch(link), fetch(link + "x"), httpx.head(link)):
        assert "X-Oneapi-Request-Id" not in response.headers


@pytest.mark.parametrize(("header", "part"), [("bytes=100-199", slice(100, 200)), ("bytes=-50", slice(-50, None))])
def test_a_range_of_a_file_can_be_read(link: str, header: str, part: slice) -> None:
    whole = fetch(link).content
    response = fetch(link, headers={"Range": header})

    assert response.status_code == 206
    assert response.content == whole[part]
    assert response.headers["Content-Range"].endswith(f"/{len(whole)}")


def test_a_range_beyond_the_file_is_refused(link: str) -> None:
    assert fetch(link, headers={"Range": "bytes=999999999-"}).status_code == 416


def test_a_file_can_be_downloaded_many_times_and_is_the_same(link: str) -> None:
    assert fetch(link).content == fetch(link).content
