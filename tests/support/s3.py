"""An S3 server over real HTTP, and Airflow's connection to it."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from airflow.sdk import Connection
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "videos"


class S3:
    """A bucket on that server, accessed without Airflow."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="an-access-key",
            aws_secret_access_key="a-secret-access-key",
        )

    @property
    def connection(self) -> Connection:
        """Airflow's connection ``s3``."""
        return Connection(
            conn_id="s3",
            conn_type="aws",
            login="an-access-key",
            password="a-secret-access-key",
            extra=json.dumps({"endpoint_url": self.url, "region_name": "us-east-1"}),
        )

    def path(self, key: str) -> str:
        """An object's path in Airflow."""
        return f"s3://s3@{BUCKET}/{key}"

    def put(self, key: str, content: bytes) -> str:
        """Store an object, and return its path in Airflow."""
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return self.path(key)

    def get(self, key: str) -> bytes:
        """The content of an object."""
        return bytes(self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def keys(self) -> list[str]:
        """Every object in the bucket."""
        found: list[dict[str, Any]] = self._client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [item["Key"] for item in found]

    def empty(self) -> None:
        """Empty the bucket, the only one in use on the server."""
        self._client.create_bucket(Bucket=BUCKET)
        for key in self.keys():
            self._client.delete_object(Bucket=BUCKET, Key=key)


@contextmanager
def running_s3() -> Iterator[S3]:
    """Serve S3 on a free loopback port while the block runs."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # otherwise it logs a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
