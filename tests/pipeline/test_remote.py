"""A DVC remote on S3: data pushed from one clone and pulled into another, through a server on this machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from .conftest import Checkout, checksums

pytestmark = pytest.mark.slow


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_recordings_are_pushed_and_pulled(address: str, recordings: Path, tmp_path: Path):
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="archive")
    (tmp_path / "author").mkdir()
    author = Checkout(tmp_path / "author")
    author.run("git", "init", "-q")
    author.identify()
    author.run("dvc", "init", "-q")
    shutil.copytree(recordings / "raw", author.folder / "data/raw")
    author.run("dvc", "add", "-q", "data/raw")
    author.run("dvc", "remote", "add", "--default", "archive", "s3://archive/tarkib")
    author.run("dvc", "remote", "modify", "archive", "endpointurl", address)
    author.run("dvc", "push", "-q")
    author.commit("recordings")
    author.run("git", "clone", "-q", str(author.folder), str(tmp_path / "reader"))
    reader = Checkout(tmp_path / "reader")
    reader.run("dvc", "pull", "-q")
    assert checksums(reader.folder, "data/raw") == checksums(author.folder, "data/raw")
    assert len(checksums(reader.folder, "data/raw")) > 10
