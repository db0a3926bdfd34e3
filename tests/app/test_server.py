"""What the server answers, and to whom."""

import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
from conftest import write
from starlette.testclient import TestClient

from app.serving import RATE, served, tone, write_classifier
from tarkib.app import recognition
from tarkib.app.recognition import Limits
from tarkib.app.server import App
from tarkib.cli import main

SECRET = "sample_id,tar\nsecret-of-another-folder,1\n"
OWN = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of excerpts, and beside it a folder that is not served."""
    place = tmp_path_factory.mktemp("place")
    for name in ("a.wav", "b.wav", "c.wav"):
        write(place / "excerpts" / name, tone(0.5), RATE)
    write(place / "other" / "secret.wav", tone(0.5), RATE)
    for path in (place / "other" / "labels.csv", place / "excerpts" / "notes.txt"):
        path.write_text(SECRET)
    return place


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("model") / "classifier")


@pytest.fixture(scope="module")
def client(place: Path, model: Path) -> TestClient:
    (place / "scratch").mkdir()
    app = App(str(model), place / "excerpts", Limits(1, 2), place / "scratch")
    return TestClient(app.starlette(), base_url=OWN)


@pytest.fixture
def table(place: Path) -> Iterator[Path]:
    """labels.csv, which does not exist yet."""
    table = place / "excerpts" / "labels.csv"
    table.unlink(missing_ok=True)
    yield table
    table.unlink(missing_ok=True)


@pytest.mark.parametrize("path", ["/", "/label"])
def test_only_this_machine_is_served_and_pages_load_nothing_from_elsewhere(client, path):
    page = client.get(path, headers={"Host": "localhost"})
    assert page.status_code == 200
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert "content=\"default-src 'none'; img-src data:; media-src" in page.text
    assert re.findall(r"https?://|//[a-z]+\.", page.text) == []
    assert client.get(path, headers={"Host": "tarkib.example"}).status_code == 400


def test_another_site_s_page_changes_nothing(client, table):
    key = client.get("/labels").json()["key"]
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:7860"):
        for path in (f"/labels/{key}", "/recognition", "/sound"):
            assert client.post(path, content="{}", headers={"Origin": origin}).status_code == 403
    assert not table.exists()
    assert client.post(f"/labels/{key}", json={}, headers={"Origin": OWN}).status_code == 200
    assert table.exists()


def test_other_files_are_refused(client, place):
    other, excerpts = place / "other", place / "excerpts"
    paths = ["/etc/passwd", str(other / "labels.csv"), str(excerpts / "notes.txt"), str(excerpts / "a.wav")]
    paths += [f"{excerpts}/../other/labels.csv", "../other/labels.csv", "a.wav", "pyproject.toml", "server.py"]
    for path in paths:
        for written in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
            for address in (f"/{written}", f"/labels/{written}", f"/labels/{written}/sound"):
                assert client.get(address).status_code in (307, 404, 409), address


def test_an_excerpt_s_sound_is_named_by_its_key(client, place):
    address = f"/labels/{client.get('/labels').json()['key']}/sound"
    answer = client.get(address)
    assert answer.content == (place / "excerpts" / "a.wav").read_bytes()
    assert answer.headers["content-type"] == "audio/wav"
    part = client.get(address, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, answer.content[10:20])
    assert client.get(f"/labels/{'0' * 16}/sound").status_code == 409


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"instrument": "oud", "plays": true}', "has no column oud"),
        (b'{"instrument": "tar", "plays": "perhaps"}', "the request is not understood: Input should be a valid bool"),
        (b'{"recording": "' + b"x" * 201 + b'"}', "String should have at most 200 characters"),
        (b'{"recording": "\\ud800"}', "Invalid JSON"),
        (b'{"recording": "\\u0000"}', "String should match pattern"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"", "Invalid JSON"),
    ],
    ids=range(7),
)
def test_a_request_that_makes_no_sense_is_refused(client, table, body, message):
    answer = client.post(f"/labels/{client.get('/labels').json()['key']}", content=body)
    assert answer.status_code == 409
    assert message in answer.json()["error"]
    assert len(answer.content) < 400
    assert not table.exists()


def test_a_large_body_does_not_fill_the_memory(client, place, model):
    chunk = b"a" * 1_000_000
    key = client.get("/labels").json()["key"]
    with served(place / "excerpts", model) as address:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in (f"/labels/{key}", "/recognition?name=large.wav"):
            connection = http.client.HTTPConnection(address.split("/")[2])
            try:
                connection.request("POST", path, body=(chunk for _ in range(150)), encode_chunked=True)
                answer = connection.getresponse()
            except (BrokenPipeError, ConnectionResetError):
                continue  # refused before all was sent
            content = answer.read().decode()
            assert answer.status == 413 or "large.wav: is larger than 1 MB; cut it, start tarkib app with" in content
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000


def test_a_page_that_is_opened_shows_new_excerpts(client, place):
    key = client.get("/labels").json()["key"]
    new = write(place / "excerpts" / "a0.wav", tone(0.5), RATE)
    assert client.get("/labels").json()["count"] == 4
    assert client.get(f"/labels/{key}").json()["place"] == 1
    new.unlink()


def test_a_disk_that_goes_away_is_reported(client, monkeypatch):
    key = client.get("/labels").json()["key"]

    def stale(path: Path) -> None:
        raise OSError(116, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", stale)
    monkeypatch.setattr(Path, "is_dir", stale)
    for answer in (client.get("/labels"), client.post(f"/labels/{key}", json={})):
        assert answer.status_code == 409
        assert "Stale file handle" in answer.json()["error"]


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


def recognised(client: TestClient, place: Path, content: bytes, name: str) -> list[dict]:
    """Upload a recording: the events, after which no file is left."""
    answer = client.post("/recognition", params={"name": name}, content=content)
    assert list((place / "scratch").rglob("recording*")) == []
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_recording_gives_progress_and_then_all_results(client, place):
    *progress, result = recognised(client, place, wav(tone(40.0)), "نی <b>.wav")
    assert {event["total"] for event in progress} == {40.0}
    assert len(progress) >= 2
    assert result["media_type"] == "audio/wav"
    assert result["csv"].splitlines()[1].startswith("نی <b>.wav,ney,0.000,40.000,")
    assert json.loads(result["json"])["seconds"] == 40.0
    assert '<h2 dir="auto">نی &lt;b&gt;.wav</h2>' in result["html"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "picture.png: cannot be decoded"),
        ("empty.wav", b"", "empty.wav: the file is empty"),
        ("cut.wav", wav(tone(3.0))[:9_000], "cut.wav: is cut short"),
        ("long.wav", wav(tone(61.0)), "long.wav: is longer than 1 minutes; cut it, start"),
        ("large.wav", wav(tone(150.0)), "large.wav: is larger than 2 MB; cut it, start"),
    ],
)
def test_a_broken_recording_gives_one_message(client, place, name, content, message):
    (event,) = recognised(client, place, content, name)
    assert event["error"].startswith(message)
    assert "/" not in event["error"].partition(";")[0]


def test_a_header_without_length_does_not_lift_the_limit(client, place, monkeypatch):
    monkeypatch.setattr(recognition.audio, "seconds", lambda _: 0.0)
    *progress, last = recognised(client, place, wav(tone(110.0)), "a.wav")
    assert last["error"].startswith("a.wav: is longer than 1 minutes")
    assert 0 < max(event["done"] for event in progress) <= 60


def test_what_cannot_be_served_is_one_line(tmp_path, capsys):
    assert main(["app", "--label", str(tmp_path / "absent")]) == 1
    assert "absent: no such folder; make it" in capsys.readouterr().err
    assert main(["app", "--port", "70000"]) == 1
    assert "--port 70000: ports end at 65535" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port), "--no-browser"]) == 1
    assert f"error: --port {port}: Address already in use" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(place, tmp_path):
    arguments = ["app", "--port", "0", "--no-browser", "--label", str(place / "excerpts"), "--model", "absent"]
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; from tarkib.cli import main; sys.exit(main({arguments!r}))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        address = re.match(r"(http://127\.0\.0\.1:\d+)/label ", process.stdout.readline())[1]
        with urllib.request.urlopen(f"{address}/") as page:
            assert "absent: no such model" in page.read().decode()
        assert len(list(tmp_path.glob("tarkib-app-*"))) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("tarkib-app-*")) == []
