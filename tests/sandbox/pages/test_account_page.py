"""The account as a page."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from tests.sandbox.client import image, text
from tests.sandbox.media_files import clip, data_uri, picture, sound

if TYPE_CHECKING:
    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle


@pytest.fixture
def finished(anyfast: Client, clock: FakeClock) -> str:
    """A generation that has succeeded."""
    generation_id = anyfast.generate(text("a fox"), ratio="16:9")
    clock.advance(8)
    return generation_id


def size_of(response: httpx.Response) -> tuple[int, int]:
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    with Image.open(io.BytesIO(response.content)) as shown:
        width, height = shown.size
    return width, height


def test_the_page_plays_videos_and_loads_nothing_from_elsewhere(
    anyfast: Client, sandbox: SandboxHandle, clock: FakeClock
) -> None:
    group_id = anyfast.group("faces & <b>more</b>")
    anyfast.asset(group_id, URL=data_uri(picture()), Name="here")
    anyfast.asset(group_id, Name="elsewhere")
    generation_id = anyfast.generate(text("a fox"), image())
    anyfast.generate(text("[sandbox:fail]"))
    clock.advance(8)
    anyfast.generate(text("still going"))

    response = httpx.get(sandbox.url)
    page = response.text
    assert response.headers["Content-Type"].startswith("text/html")
    link = anyfast.task(generation_id)["result_url"].removeprefix(sandbox.url).replace("&", "&amp;")
    assert f'src="{link}">' in page
    assert "faces &amp; &lt;b&gt;more" in page
    assert page.count("<img") == 1
    assert page.count("<video") == 1
    assert "1 refunded" in page
    assert "picture.png (reference_image)" in page
    assert not re.findall(r'(?:src|href|poster)="(?!/)[^"]*"', page)
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "media-src 'self'" in policy


def test_a_prompt_on_the_page_runs_nothing(anyfast: Client, sandbox: SandboxHandle) -> None:
    anyfast.generate(text("<script>alert('fox')</script>"))

    response = httpx.get(sandbox.url)
    (nonce,) = re.findall(r'<script nonce="([\w-]+)">', response.text)
    assert response.text.count("<script") == 1
    assert "&lt;script&gt;alert" in response.text
    assert f"script-src 'nonce-{nonce}'" in response.headers["Content-Security-Policy"]
    assert nonce not in httpx.get(sandbox.url).text


def test_a_player_shows_a_small_frame_of_its_video(anyfast: Client, sandbox: SandboxHandle, finished: str) -> None:
    page = httpx.get(sandbox.url).text

    assert f'<video controls preload="none" poster="/sandbox/posters/{finished}" ' in page
    assert size_of(httpx.get(f"{sandbox.url}/sandbox/posters/{finished}")) == (480, 276)


def test_there_is_no_poster_before_there_is_a_video(anyfast: Client, sandbox: SandboxHandle) -> None:
    generation_id = anyfast.generate()

    assert httpx.get(f"{sandbox.url}/sandbox/posters/{generation_id}").status_code == 404
    assert httpx.get(f"{sandbox.url}/sandbox/posters/nothing").status_code == 404


def test_uploaded_pictures_and_videos_have_a_thumbnail(anyfast: Client, sandbox: SandboxHandle) -> None:
    group_id = anyfast.group()
    shown = anyfast.asset(group_id, URL=data_uri(picture(800, 400)), Name="picture")
    moving = anyfast.asset(
        group_id, URL=data_uri(clip(), "video/mp4"), AssetType="Video", model="volc-asset-video", Name="clip"
    )
    heard = anyfast.asset(
        group_id, URL=data_uri(sound(), "audio/wav"), AssetType="Audio", model="volc-asset-audio", Name="sound"
    )
    elsewhere = anyfast.asset(group_id, Name="elsewhere")

    page = httpx.get(sandbox.url).text
    address = f"{sandbox.url}/sandbox/thumbnails/"
    assert [size_of(httpx.get(address + asset_id)) for asset_id in (shown, moving)] == [(256, 128), (256, 142)]
    assert [httpx.get(address + asset_id).status_code for asset_id in (heard, elsewhere, "none")] == [404, 404, 404]
    assert page.count("/sandbox/thumbnails/") == 2


def test_the_page_has_a_dark_mode_and_updates_itself(anyfast: Client, sandbox: SandboxHandle) -> None:
    page = httpx.get(sandbox.url).text

    assert "color-scheme: light dark" in page
    assert "@media (prefers-color-scheme: dark)" in page
    assert set(re.findall(r'id="(\w+)"', page)) == set(
        re.findall(r'for \(const id of \["(\w+)", "(\w+)", "(\w+)"', page)[0]
    )


def test_an_id_on_the_page_is_harmless(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    sandbox.fault("odd_id", value='"><b>x')
    anyfast.submit()
    clock.advance(8)

    page = httpx.get(sandbox.url).text
    assert "<b>x" not in page
    assert 'poster="/sandbox/posters/%22%3E%3Cb%3Ex"' in page


def test_an_empty_page_says_so(anyfast: Client, sandbox: SandboxHandle) -> None:
    assert httpx.get(sandbox.url).text.count("none yet") == 4


def test_the_task_log_of_the_console_is_the_page_with_an_anchor_for_every_generation(
    anyfast: Client, sandbox: SandboxHandle
) -> None:
    generation_id = anyfast.generate(text("a fox"))
    page = httpx.get(f"{sandbox.url}/console/task#{generation_id}", follow_redirects=True)
    assert page.status_code == 200
    assert f'id="{generation_id}"' in page.text
