"""The server's responses, decided by the path alone, so that every way of a run can have its own behavior.

``/200-150/v1/video/generations/ID`` is a status poll with response HTTP 200 after 150 ms. A submission is a POST to
``/bucket-NAME/v1/video/generations``; each NAME has a token bucket of its own.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

SUBMISSION_LATENCY = 0.2
"""Seconds until the response to a submission."""
ACCEPTED_A_SECOND = 20.0
BURST = 20
RETRY_AFTER = 1
"""Seconds in the ``Retry-After`` of a refused submission."""

_STATUS_PATH = "/v1/video/generations"
_PENDING = {
    "code": "success",
    "message": "",
    "data": {
        "task_id": "$id",
        "action": "generate",
        "status": "IN_PROGRESS",
        "fail_reason": "",
        "submit_time": 1777288506,
        "start_time": 1777288508,
        "finish_time": 0,
        "progress": "50%",
        "request_id": "20260427111505260254000NBdvZFoP",
        "data": {
            "id": "cgt-20260427191505-9j2q7",
            "model": "doubao-seedance-2-0-260128",
            "status": "running",
            "created_at": 1777288506,
            "updated_at": 1777288796,
            "draft": False,
            "duration": 5,
            "framespersecond": 24,
            "generate_audio": True,
            "ratio": "16:9",
            "resolution": "720p",
            "seed": 4304,
            "service_tier": "default",
        },
    },
}
_PENDING_BODY = json.dumps(_PENDING).encode()
_REFUSAL = {"error": {"message": "refused (request id: 1)", "type": "new_api_error", "code": ""}}
_REFUSAL_BODY = json.dumps(_REFUSAL).encode()


@dataclass(frozen=True)
class Response:
    """One response and its time."""

    status: int
    body: bytes
    after: float = 0.0
    """Seconds from the request."""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class TokenBucket:
    """Allows ``rate`` requests a second, and ``burst`` at once."""

    rate: float = ACCEPTED_A_SECOND
    burst: float = BURST
    _tokens: float = BURST
    _filled_at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Whether one more request is allowed."""
        now = time.monotonic()
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Responder:
    """Decides the responses."""

    def __init__(self) -> None:
        self._buckets: dict[str, TokenBucket] = {}
        self._accepted = 0

    def response(self, method: str, path: str) -> Response:
        """The response to a request."""
        behaviour, separator, rest = path[1:].partition("/")
        rest = separator + rest
        if method == "POST" and rest == _STATUS_PATH and behaviour.startswith("bucket-"):
            return self._submission(behaviour)
        status, _, milliseconds = behaviour.partition("-")
        if method != "GET" or not rest.startswith(_STATUS_PATH) or not (status + milliseconds).isdecimal():
            return Response(400, b'{"error":{"message":"no such path in this benchmark"}}')
        body = _REFUSAL_BODY
        if status in {"200", "404"}:  # Airflow's HTTP sensor continues waiting on 404
            body = _PENDING_BODY.replace(b"$id", path.rpartition("/")[2].encode())
        return Response(int(status), body, after=int(milliseconds) / 1000)

    def _submission(self, bucket: str) -> Response:
        if not self._buckets.setdefault(bucket, TokenBucket()).take():
            return Response(429, _REFUSAL_BODY, SUBMISSION_LATENCY, (("retry-after", str(RETRY_AFTER)),))
        self._accepted += 1
        body = {"id": f"asyntask_{self._accepted:032}", "object": "video", "status": "", "progress": 0}
        return Response(200, json.dumps(body).encode(), SUBMISSION_LATENCY)
