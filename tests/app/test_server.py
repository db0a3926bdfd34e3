"""What the server answers, and to whom."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import write

from app.serving import RATE, served, tone, write_classifier
from tarkib.cli import app as command
from tarkib.cli import main
from tarkib.vocabulary import INSTRUMENTS

pytest.importorskip("gradio", reason="gradio is not installed")
httpx = pytest.importorskip("httpx")

LABELS = "/tarkib/labels"
SECRET = "sample_id,tar\nsecret-of-another-folder,1\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder of excerpts, and beside it one that is nobody's business."""
    place = tmp_path_factory.mktemp("place")
    for name in ("a.wav", "b.wav", "c.wav"):
        write(place / "excerpts" / name, tone(0.5), RATE)
    write(place / "other" / "secret.wav", tone(6.0), RATE)
    (place / "other" / "labels.csv").write_text(SECRET)
    (place / "excerpts" / "notes.txt").write_text(SECRET)
    return place


@pytest.fixture(scope="module")
def client(place: Path, tmp_path_factory) -> Iterator["httpx.Client"]:
    model = write_classifier(tmp_path_factory.mktemp("model") / "classifier")
    with served(place / "excerpts", model) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture
def table(place: Path) -> Iterator[Path]:
    """labels.csv, which is not there yet."""
    table = place / "excerpts" / "labels.csv"
    table.unlink(missing_ok=True)
    yield table
    table.unlink(missing_ok=True)


def test_the_page_asks_nobody_else(client):
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy.replace("http://127.0.0.1", "")
    for address in ("/", "/theme.css"):
        text = client.get(address).text
        # Words about Gradio's own home are no requests: the head of its page has two, for those who share it.
        assert re.findall(r"fonts\.g\w+\.com|cdnjs|jsdelivr|unpkg", text) == []
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert config["stylesheets"] == []


def test_it_is_served_to_this_machine_alone(client):
    assert client.get("/", headers={"Host": "tarkib.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost"}).status_code == 200
    address = socket.gethostbyname(socket.gethostname())
    if not address.startswith("127."):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, client.base_url.port))


def test_another_site_s_page_changes_nothing(client, table):
    key = client.get(LABELS).json()["key"]
    own = str(client.base_url).rstrip("/")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", own.replace("http", "https")):
        answer = client.post(f"{LABELS}/{key}", json={"confirm": True}, headers={"Origin": origin})
        assert answer.status_code == 403
        assert client.post("/gradio_api/upload", headers={"Origin": origin}).status_code == 403
    # What a form can send without being asked first.
    plain = client.post(f"{LABELS}/{key}", content='{"confirm": true}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422
    assert not table.exists()
    assert client.post(f"{LABELS}/{key}", json={"confirm": True}, headers={"Origin": own}).status_code == 200
    assert table.exists()


def test_files_of_others_are_refused(client, place):
    other, excerpts = place / "other", place / "excerpts"
    wanted = [
        "/etc/passwd",
        str(other / "labels.csv"),
        str(other / "secret.wav"),
        str(excerpts / "notes.txt"),
        str(excerpts / "a.wav"),
        f"{excerpts}/../other/labels.csv",
        "../other/labels.csv",
        "other/labels.csv",
        "a.wav",
        str(Path("pyproject.toml").resolve()),
        "pyproject.toml",
        "params.yaml",
    ]
    routes = [
        "/gradio_api/file=",
        "/file=",
        "/gradio_api/file/",
        "/tarkib/sound/",
        f"{LABELS}/",
        "/static/",
        "/assets/",
    ]
    for route in routes:
        for path in wanted:
            for written in (path, quote(path, safe=""), quote(quote(path, safe=""), safe="")):
                answer = client.get(f"{route}{written}{'/sound' if route.startswith(LABELS) else ''}")
                assert answer.status_code in (307, 400, 403, 404, 405, 409), (route, written, answer.status_code)
                assert "secret-of-another-folder" not in answer.text
                assert "root:" not in answer.text


def heard(client, path: Path | str) -> str:
    """What the server tells when it is asked to hear a file that no one has uploaded."""
    events = client.get("/config").json()["dependencies"]
    number = next(k for k, one in enumerate(events) if any(target[1] == "upload" for target in one["targets"]))
    file = {"path": str(path), "orig_name": "x.wav", "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file], "fn_index": number, "session_hash": "test", "event_data": None, "trigger_id": None}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    told = []
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": "test"}) as stream:
        for line in stream.iter_lines():
            told.append(line)
            if "process_completed" in line:
                break
    return "\n".join(told)


def test_only_what_was_uploaded_is_heard(client, place, tmp_path):
    for path in (
        place / "other" / "secret.wav",
        place / "excerpts" / "a.wav",
        "/etc/passwd",
        "http://127.0.0.1:1/x.wav",
    ):
        told = heard(client, path)
        assert "tarkib-heard" not in told
        assert "root:" not in told
    uploaded = client.post(
        "/gradio_api/upload", files={"files": ("mine.wav", (place / "other" / "secret.wav").read_bytes())}
    )
    assert "tarkib-heard" in heard(client, uploaded.json()[0])


def test_an_excerpt_s_sound_comes_by_its_key(client, place):
    first = client.get(LABELS).json()
    answer = client.get(first["sound"])
    assert answer.content == (place / "excerpts" / "a.wav").read_bytes()
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = client.get(first["sound"], headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == answer.content[10:20]
    assert client.get(f"{LABELS}/{'0' * 16}/sound").status_code == 404


def test_labels_are_told_and_written(client, table):
    first = client.get(LABELS).json()
    assert (first["place"], first["count"], first["labelled_count"], first["labelled"]) == (1, 3, 0, False)
    assert first["values"] == [None] * 10
    assert (first["back"], first["first_unlabelled"]) == (None, first["key"])
    where = f"{LABELS}/{first['key']}"
    after = client.post(where, json={"instrument": "tar", "plays": True, "recording": "golha"}).json()
    assert after["values"] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert (after["labelled"], after["recording"], after["recordings"]) == (True, "golha", ["golha"])
    assert after["first_unlabelled"] == first["next"]
    assert table.read_text().splitlines()[1] == "a,golha,0,1,0,0,0,0,0,0,0,0"
    assert client.get(LABELS).json()["place"] == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"instrument": "oud", "plays": True}, 409),
        ({"instrument": "x" * 100, "plays": True}, 422),
        ({"instrument": "tar", "plays": "perhaps"}, 422),
        ({"confirm": True, "recording": "x" * 201}, 409),
        ({"recording": "of nothing"}, 409),
        ([], 422),
    ],
)
def test_what_makes_no_sense_is_refused(client, table, said, status):
    key = client.get(LABELS).json()["key"]
    answer = client.post(f"{LABELS}/{key}", json=said)
    assert answer.status_code == status
    if status == 409:
        assert answer.json()["error"]
    assert "of nothing" not in (table.read_text() if table.exists() else "")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"recording": "\\ud800"}', 400, "not JSON in UTF-8, or holds"),
        (b'{"recording": "\xed\xa0\x80"}', 400, "not JSON in UTF-8"),
        (b'{"plays": NaN}', 400, "holds NaN"),
        (b'{"plays": 1e999}', 400, "holds NaN"),
        (b'{"plays": ' + b"9" * 5_000 + b"}", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        ('{"confirm": true}'.encode("utf-16"), 400, "not JSON in UTF-8"),
        (b'{"recording": {"a": 1}}', 422, "body.recording: Input should be a valid string"),
        (b'{"recording": "' + b"a" * 900_000 + b'"}', 422, "body.recording: String should have at most 10000"),
        (b"null", 422, "body: Input should be"),
        (b"", 422, "body: Field required"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_body_that_makes_no_sense_is_answered_in_one_line(client, table, body, status, message):
    key = client.get(LABELS).json()["key"]
    for kind in ("application/json", "text/plain"):
        answer = client.post(f"{LABELS}/{key}", content=body, headers={"Content-Type": kind})
        assert answer.status_code == status
        if kind == "application/json":
            assert message in answer.json()["error"]
        assert len(answer.content) < 300
    if status == 400:
        for route in ("queue/join", "run/predict", "call/heard", "cancel", "reset"):
            assert client.post(f"/gradio_api/{route}", content=body).status_code == 400
    assert not table.exists()


def test_no_body_fills_the_memory(client, table):
    """300 MB, whether or not their size is announced."""
    key = client.get(LABELS).json()["key"]
    part = b"a" * 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for route in (f"{LABELS}/{key}", "/gradio_api/queue/join", "/gradio_api/upload"):
        for headers in ({"Content-Length": str(300 * len(part))}, {}):
            answer = client.post(
                route,
                content=(part for _ in range(300)),
                headers={
                    "Content-Type": "multipart/form-data; boundary=a" if "upload" in route else "text/json",
                    **headers,
                },
            )
            assert answer.status_code in ((400, 413) if "upload" in route else (413,))
    many = [("files", (f"{number}.wav", part)) for number in range(10)]
    assert client.post("/gradio_api/upload", files=many).status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    assert not table.exists()


def test_a_damaged_table_is_an_answer_and_new_excerpts_are_found(client, place, table):
    key = client.get(LABELS).json()["key"]
    table.write_text("sample_id,tar\na,7\n")
    for answer in (client.get(LABELS), client.post(f"{LABELS}/{key}", json={"confirm": True})):
        assert answer.status_code == 409
        assert "labels.csv, line 2: tar is '7'; write 1 (plays)" in answer.json()["error"]
    assert table.read_text() == "sample_id,tar\na,7\n"
    table.unlink()
    new = write(place / "excerpts" / "a0.wav", tone(0.5), RATE)
    assert client.get(LABELS).json()["count"] == 4
    assert client.get(f"{LABELS}/{key}").json()["place"] == 1
    new.unlink()


# The command


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert main(["app"]) == 1
    assert capsys.readouterr().err == "error: tarkib app needs Gradio: pip install 'tarkib[app]'\n"


def test_what_cannot_be_served_is_one_line(tmp_path, capsys):
    assert main(["app", "--label", str(tmp_path / "absent")]) == 1
    assert "--label" in capsys.readouterr().err
    assert main(["app", "--port", "70000"]) == 1
    assert "--port 70000: ports end at 65535" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["app", "--port", str(port), "--no-browser"]) == 1
    assert f"error: --port {port}: Address already in use; give another one" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(place, tmp_path, table):
    arguments = [
        "app",
        "--port",
        "0",
        "--no-browser",
        "--label",
        str(place / "excerpts"),
        "--model",
        str(tmp_path / "no"),
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; from tarkib.cli import main; sys.exit(main({arguments!r}))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        line = process.stdout.readline()
        address = re.match(r"(http://127\.0\.0\.1:\d+/) ", line)[1]
        with httpx.Client(base_url=address, timeout=60) as client:
            first = client.get(LABELS).json()
            client.post(f"{LABELS}/{first['key']}", json={"instrument": INSTRUMENTS[0], "plays": True})
            assert "no: no such model" in json.dumps(client.get("/config").json())
        assert len(list(tmp_path.glob("tarkib-app-*"))) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("tarkib-app-*")) == []
    assert table.read_text().splitlines()[1:] == ["a,,1,0,0,0,0,0,0,0,0,0"]
