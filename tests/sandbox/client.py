"""AnyFast over plain httpx, written from the documentation of the interface alone."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

# Made once: making one for each client takes longer than most of these tests.
_TLS = ssl.create_default_context()
JSON = {"Content-Type": "application/json"}
PICTURE = "https://example.com/picture.png"
CLIP = "https://example.com/clip.mp4"
SONG = "https://example.com/song.mp3"


def text(prompt: str = "A fox runs through snow") -> dict[str, Any]:
    return {"type": "text", "text": prompt}


def image(url: str = PICTURE, role: str | None = "reference_image") -> dict[str, Any]:
    item: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    return item if role is None else {**item, "role": role}


def video(url: str = CLIP) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}, "role": "reference_video"}


def audio(url: str = SONG) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}, "role": "reference_audio"}


class Client:
    """Calls the interface with one key, or without any."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20, verify=_TLS)

    def asset_call(self, name: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/volc/asset/{name}", json=body)

    def ok(self, name: str, **body: Any) -> dict[str, Any]:
        return ok_json(self.asset_call(name, **body))

    def group(self, name: str = "a group") -> str:
        created: str = self.ok("CreateAssetGroup", model="volc-asset", Name=name)["Id"]
        return created

    def create_asset(self, group: str, **fields: Any) -> httpx.Response:
        body = {"GroupId": group, "AssetType": "Image", "URL": PICTURE, "Name": "a picture", "model": "volc-asset"}
        return self.asset_call("CreateAsset", **{**body, **fields})

    def asset(self, group: str, **fields: Any) -> str:
        created: str = ok_json(self.create_asset(group, **fields))["Id"]
        return created

    def list(self, name: str, *, filtered: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        return self.ok(name, **{"model": "volc-asset", "Filter": {"GroupType": "AIGC", **(filtered or {})}, **fields})

    def submit(self, *content: dict[str, Any], **fields: Any) -> httpx.Response:
        """Submit a short, small video; a field that is given as None is left out."""
        body = {
            "model": "seedance",
            "content": list(content) or [text()],
            "resolution": "480p",
            "duration": 4,
            **fields,
        }
        present = {name: value for name, value in body.items() if value is not None}
        return self.http.post("/v1/video/generations", json=present)

    def generate(self, *content: dict[str, Any], **fields: Any) -> str:
        accepted: str = ok_json(self.submit(*content, **fields))["id"]
        return accepted

    def query(self, generation_id: str) -> httpx.Response:
        return self.http.get(f"/v1/video/generations/{generation_id}")

    def task(self, generation_id: str) -> dict[str, Any]:
        """The status of a generation, without the wrapper."""
        body = ok_json(self.query(generation_id))
        assert body["code"] == "success"
        data: dict[str, Any] = body["data"]
        return data

    def billed(self) -> dict[str, int]:
        accounts = ok_json(self.http.get("/account"))["accounts"]
        return {name: sum(key["billed"][name] for key in accounts) for name in accounts[0]["billed"]}


def fetch(link: str, *, timeout: float = 60, **options: Any) -> httpx.Response:
    """Get a file. A busy machine takes its time for a video, which is made when it is first asked for."""
    return httpx.get(link, timeout=timeout, **options)


def ok_json(response: httpx.Response) -> dict[str, Any]:
    """The JSON of a response that must be a success."""
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


def gateway_message(response: httpx.Response) -> str:
    """The message of a refusal in the gateway's own shape."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "code"}
    message: str = error["message"]
    return message


def upstream_error(response: httpx.Response) -> dict[str, str]:
    """The upstream's error, parsed from the JSON string in the gateway's response."""
    outer = response.json()
    assert outer["code"] == "fail_to_fetch_task"
    assert outer["data"] is None
    error: dict[str, str] = json.loads(outer["message"])["error"]
    return error
