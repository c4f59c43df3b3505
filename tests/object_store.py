"""An S3 on loopback, by moto: real requests of the real client, and nothing leaves the machine."""

import os
import socket
import subprocess
import sys
import time
import uuid

import pytest
import requests

from medseg.io import remote, remote_work

SECRET = "ZZSECRETCANARY"


class ObjectStore:
    """A server and a bucket in it.

    Attributes:
        url: Where it listens.
        bucket: Its name, different each time.
    """

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url, self.bucket = f"http://127.0.0.1:{port}", f"bucket-{uuid.uuid4().hex[:8]}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self):
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            try:
                requests.put(f"{self.url}/{self.bucket}", timeout=5)
            except requests.ConnectionError:
                time.sleep(0.1)
            else:
                return
        pytest.fail("moto does not answer")

    @property
    def environment(self):
        """What a process needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": f"{SECRET}ID",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def address(self, name):
        """Return the address of a folder in the bucket."""
        return f"s3://{self.bucket}/{name}"

    @property
    def client(self):
        """A client that medseg does not use."""
        import boto3

        given = {"aws_access_key_id": "another", "aws_secret_access_key": "one"}
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **given)

    def put(self, folder, name):
        """Bring a folder, or a file, to the bucket as another client would."""
        for path in [p for p in folder.rglob("*") if p.is_file()] or [folder]:
            below = "" if path == folder else f"/{path.relative_to(folder).as_posix()}"
            self.write(f"{name}{below}", path.read_bytes())

    def write(self, name, content):
        """Write a file as another client would."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content)

    def read(self, name):
        """Return what a file holds."""
        return self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()

    def names(self, folder=""):
        """Return the names of all files below a folder, from the bucket on."""
        told = self.client.list_objects_v2(Bucket=self.bucket, Prefix=folder)
        return sorted(row["Key"] for row in told.get("Contents", ()))

    def fill(self, name, folder):
        """Fetch all files below a name into a folder, as another client would."""
        for key in self.names(name):
            path = folder / key.removeprefix(f"{name}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(key))
        return folder

    def stop(self):
        """End the server."""
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def s3_server():
    """A server for a module."""
    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture
def s3(s3_server, monkeypatch, tmp_path):
    """A server that this process finds, with nothing copied from it yet."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    forget()
    s3_server.bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    requests.put(f"{s3_server.url}/{s3_server.bucket}", timeout=10)
    yield s3_server
    forget()


def forget():
    """Be as a process that has just begun."""
    remote._system.cache_clear()
    remote_work._WORKING.clear()
