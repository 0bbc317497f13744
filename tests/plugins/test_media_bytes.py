"""Only media files are served, whole or in the requested range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_anyfast.plugins.media_bytes import (
    CHUNK,
    NotMediaError,
    UnsatisfiableRangeError,
    find_media,
    parse_range,
)

if TYPE_CHECKING:
    from pathlib import Path

MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 10


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 10)),
        ("bytes=90-500", (90, 10)),
        ("bytes=-10", (90, 10)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-4", None),
        ("bytes=0-1,5-6", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("lines=0-4", None),
    ],
)
def test_a_range_is_parsed_as_rfc_9110_says(header: str | None, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == part


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=-0"])
def test_a_range_after_the_end_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 100)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (MP4, "video/mp4"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_the_content_determines_the_type(tmp_path: Path, content: bytes, media_type: str) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    assert find_media(str(tmp_path / "x.bin")).media_type == media_type


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "/etc", "/none.mp4", "", "s3:/x"])
def test_only_media_files_are_served(path: str) -> None:
    with pytest.raises(NotMediaError):
        find_media(path)


def test_a_link_to_something_else_is_not_followed_to_its_content(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").symlink_to("/etc/passwd")
    with pytest.raises(NotMediaError):
        find_media(str(tmp_path / "x.mp4"))


def test_bytes_are_read_in_chunks(tmp_path: Path) -> None:
    file = tmp_path / "x.mp4"
    file.write_bytes(MP4 + bytes(3 * CHUNK))
    chunks = list(find_media(str(file)).read(10, 2 * CHUNK + 5))
    assert b"".join(chunks) == file.read_bytes()[10 : 10 + 2 * CHUNK + 5]
    assert max(map(len, chunks)) <= CHUNK
