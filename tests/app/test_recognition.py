"""Recognition of uploads: the events, the timeline, and sound that browsers play."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise, write
from starlette.testclient import TestClient

from app.serving import RATE, tone, write_classifier
from tarkib.app import recognition
from tarkib.app.recognition import Limits, context
from tarkib.app.server import App
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser, Recognition
from tarkib.runtime import pages
from tarkib.runtime.text import clock
from tarkib.vocabulary import INSTRUMENTS, PERSIAN


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("model") / "classifier")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def client(model: Path, scratch: Path) -> TestClient:
    app = App(str(model), scratch / "no excerpts", Limits(minutes=1, megabytes=2), scratch)
    return TestClient(app.starlette(), base_url="http://127.0.0.1")


@pytest.fixture
def recognise(client, scratch) -> Callable[..., list[dict]]:
    """Upload a recording: the events, after which no file is left."""

    def recognise(content: bytes, name: str) -> list[dict]:
        answer = client.post("/recognition", params={"name": name}, content=content)
        assert list(scratch.rglob("recording*")) == []
        return [json.loads(line) for line in answer.text.splitlines()]

    return recognise


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


def test_a_recording_gives_progress_and_then_all_results(recognise):
    *progress, result = recognise(wav(tone(40.0)), "نی <b>.wav")
    assert [event["total"] for event in progress] == [40.0] * len(progress)
    assert len(progress) >= 2
    assert result["media_type"] == "audio/wav"
    (row,) = csv.DictReader(io.StringIO(result["csv"]))
    assert (row["file"], row["instrument"], row["end_s"]) == ("نی <b>.wav", "ney", "40.000")
    assert json.loads(result["json"])["seconds"] == 40.0
    assert '<h2 dir="auto">نی &lt;b&gt;.wav</h2>' in result["html"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.wav", b"no music", "text.wav: cannot be decoded"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "picture.png: cannot be decoded"),
        ("empty.wav", b"", "empty.wav: the file is empty"),
        ("cut.wav", wav(tone(3.0))[:9_000], "cut.wav: is cut short"),
        ("long.wav", wav(tone(61.0)), "long.wav: is longer than 1 minutes; cut it, start"),
        ("large.wav", wav(tone(150.0)), "large.wav: is larger than 2 MB; cut it, start"),
    ],
)
def test_a_broken_recording_gives_one_message(recognise, name, content, message):
    (event,) = recognise(content, name)
    assert event["error"].startswith(message)
    assert "/" not in event["error"].partition(";")[0]


def test_a_header_without_length_does_not_lift_the_limit(recognise, monkeypatch):
    monkeypatch.setattr(recognition.audio, "seconds", lambda _: 0.0)
    *progress, last = recognise(wav(tone(110.0)), "a.wav")
    assert last["error"].startswith("a.wav: is longer than 1 minutes")
    assert 0 < max(event["done"] for event in progress) <= 60


def test_recognition_stops_when_the_page_is_left(model, tmp_path):
    path = write(tmp_path / "upload" / "recording.wav", tone(55.0), RATE)
    recogniser, seconds = Recogniser.load(model, device="cpu"), []

    def counted(file: Path, progress: Callable[[float], None]) -> Recognition:
        return recogniser(file, progress=lambda done: (seconds.append(done), progress(done)))

    async def leave_after_the_first_event(worker: ThreadPoolExecutor) -> None:
        events = recognition.events(counted, "a.wav", path, Limits(1, 1), worker, template())
        await anext(events)
        await events.aclose()

    with ThreadPoolExecutor(1) as worker:
        asyncio.run(leave_after_the_first_event(worker))
    assert len(seconds) <= 2
    assert not path.parent.exists()


# The timeline


def template() -> "pages.jinja2.Template":
    environment = pages.environment("tarkib.app")
    environment.filters["clock"] = clock
    return environment.get_template("recognition.html")


def section(found: Recognition, title: str = "song") -> str:
    return template().render(title=title, **context(found))


def recognition_of(
    seconds: float, untrained: tuple[str, ...] = (), level: float = 0.9, **options: object
) -> Recognition:
    """Ney plays in the windows that begin in the first half, nothing else does."""
    starts = np.arange(max(1, int(seconds - 5.0) + 1)) * 1.0
    probabilities = np.zeros((len(starts), 10), np.float32)
    probabilities[starts < seconds / 2, 0] = level
    trained = ~np.isin(INSTRUMENTS, untrained)
    probabilities[:, ~trained] = np.nan
    silent = probabilities[:, 0] == 0
    return Recognition(seconds, 1.0, starts, probabilities, silent, INSTRUMENTS, np.full(10, 0.5), trained, **options)


def test_each_instrument_has_a_row_with_both_names_and_a_curve():
    found = recognition_of(60.0, untrained=("daf",))
    found.window_probabilities[10:, 3] = 0.8
    found.window_probabilities[:4, 9] = 0.7
    html = section(found)
    row = r'<li class="(\w+)" data-plays="([^"]*)">.*?class="latin">(\w+)</span> <span [^>]*>([^<]+)<'
    names = re.findall(row, html)
    assert [(name, persian) for _, _, name, persian in names] == [(name, PERSIAN[name]) for name in INSTRUMENTS]
    assert names[0][:2] == ("plays", "0.000-32.000")
    assert names[1][:2] == ("absent", "")
    strong = re.findall(r'<path class="strong" d="([^"]*)"', html)
    assert [bool(path) for path in strong] == [True, False, False, True, *[False] * 4, True]
    assert strong[0].startswith("M0 1V0.244H1V1z")  # 0.9 of 0.84 above the first row's floor
    assert strong[0].count("M") == 32
    assert float(re.search(r'class="threshold"[^>]* y1="([\d.]+)"', html)[1]) == pytest.approx(1 - 0.84 * 0.5)
    # One that was not trained has no curve.
    assert html.count('class="unknown"') == 1
    assert html.count("<path") == 18
    assert "nan" not in html.lower()
    assert "3 of 9 instruments reach" in html
    # The segments are listed by time.
    listed = re.findall(r'aria-label="Play (\w+) from ([\d:]+)"', html)
    assert listed == [("ney", "0:00"), ("avaz", "0:00"), ("kamancheh", "0:13")]


@pytest.mark.parametrize("seconds", [0.5, 5.0, 61.0, 12_000.0])
def test_a_recording_of_any_length_is_small_and_has_a_readable_axis(seconds):
    html = section(recognition_of(seconds))
    assert len(html) < 100_000
    ticks = context(recognition_of(seconds))["ticks"]
    assert 1 <= len(ticks) <= 9
    assert ticks[-1] <= seconds
    assert max(float(x) for x in re.findall(r"H([\d.e+]+)V", html)) <= seconds * (1 + 1e-5)


def test_the_summary_tells_silence_from_nothing_recognised():
    assert "1:00:\nsilence" in section(recognition_of(60.0, level=0.0))
    assert "no instrument reaches its threshold" in section(recognition_of(60.0, level=0.3))
    cut = recognition_of(60.0, remarks=("it ends at 60.00 of 72.50 s; is it cut short?",))
    assert "(it ends at 60.00 of 72.50 s; is it cut short?)</p>" in section(cut)


# Sound


@pytest.mark.parametrize(
    ("name", "options", "media"),
    [
        ("a.wav", {"subtype": "FLOAT"}, "audio/wav"),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_24"}, "audio/wav"),
        ("misnamed.html", {"format": "FLAC"}, "audio/flac"),
        ("a.ogg", {"subtype": "VORBIS"}, "audio/ogg"),
        ("a.mp3", {}, "audio/mpeg"),
    ],
)
def test_formats_that_browsers_play_are_not_converted(tmp_path, name, options, media):
    path = write(tmp_path / name, noise(0.5), **options)
    assert recognition.media_type(path) == media
    assert recognition.playable(path, tmp_path) == path


@pytest.mark.parametrize(("name", "options"), [("a.aiff", {}), ("a.wav", {"subtype": "DOUBLE"})])
def test_other_formats_are_converted_once(tmp_path, name, options):
    samples = noise(61.0, rate=8_000)  # more than a block
    path = write(tmp_path / name, samples, 8_000, **options)
    assert recognition.media_type(path) is None
    made = recognition.playable(path, tmp_path)
    assert recognition.playable(path, tmp_path) == made != path
    decoded, rate = soundfile.read(made)
    assert len(decoded) / rate == pytest.approx(61.0, abs=0.1)
    assert np.std(decoded) == pytest.approx(np.std(samples), rel=0.25)
    write(path, samples[:8_000], 8_000, **options)
    assert soundfile.info(recognition.playable(path, tmp_path)).duration == pytest.approx(1.0, abs=0.1)


def test_a_file_with_a_wrong_header_is_converted(tmp_path):
    """Two MP3 files joined: the header states the length of the first one, and browsers believe it."""
    parts = [write(tmp_path / name, noise(length)).read_bytes() for name, length in (("a.mp3", 4), ("b.mp3", 3))]
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    made = recognition.playable(tmp_path / "joined.mp3", tmp_path)
    assert soundfile.info(made).duration == pytest.approx(7, abs=0.2)


def test_a_failed_conversion_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.aiff"
    path.write_text("no music")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        recognition.playable(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]
