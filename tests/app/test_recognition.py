"""Recognition of uploads: its timeline, and sound that browsers play."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise, write

from app.serving import RATE, tone, write_classifier
from tarkib.app import recognition
from tarkib.app.recognition import Limits, template_variables
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser, Recognition
from tarkib.runtime import pages
from tarkib.runtime.text import clock
from tarkib.vocabulary import INSTRUMENTS, PERSIAN


def template() -> "pages.jinja2.Template":
    environment = pages.environment("tarkib.app")
    environment.filters["clock"] = clock
    return environment.get_template("recognition.html")


def section(found: Recognition) -> str:
    return template().render(title="song", **template_variables(found))


def test_recognition_stops_when_the_page_is_left(tmp_path):
    path = write(tmp_path / "upload" / "recording.wav", tone(150.0), RATE)
    seconds: list[float] = []

    class Counting(Recogniser):
        def recognise(self, sound: Path, *, progress: Callable[[float], None]) -> Recognition:
            return super().recognise(sound, progress=lambda done: (seconds.append(done), progress(done)))

    recogniser = Counting.load(write_classifier(tmp_path / "model"), device="cpu")

    async def leave_after_the_first_event(worker: ThreadPoolExecutor) -> None:
        events = recognition.events(recogniser, "a.wav", path, Limits(1, 1), worker, template())
        await anext(events)
        await events.aclose()

    with ThreadPoolExecutor(1) as worker:
        asyncio.run(leave_after_the_first_event(worker))
    assert max(seconds, default=0.0) < 140
    assert not path.parent.exists()


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
    distances = np.full(len(starts), np.nan)
    return Recognition(
        seconds, 1.0, starts, probabilities, silent, distances, INSTRUMENTS, np.full(10, 0.5), trained, **options
    )


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


@pytest.mark.parametrize("seconds", [0.5, 61.0, 12_000.0])
def test_a_recording_of_any_length_is_small_and_has_a_readable_axis(seconds):
    html, ticks = section(recognition_of(seconds)), template_variables(recognition_of(seconds))["ticks"]
    assert len(html) < 100_000
    assert 1 <= len(ticks) <= 9
    assert ticks[-1] <= seconds
    assert max(float(x) for x in re.findall(r"H([\d.e+]+)V", html)) <= seconds * (1 + 1e-5)


def test_the_summary_tells_silence_from_nothing_recognised():
    assert "1:00:\nsilence" in section(recognition_of(60.0, level=0.0))
    cut = section(recognition_of(60.0, level=0.3, remarks=("is it cut short?",)))
    assert "no instrument reaches its threshold" in cut
    assert "(is it cut short?)</p>" in cut


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


def test_a_file_with_a_wrong_header_is_converted_and_a_failure_leaves_nothing(tmp_path):
    """Two MP3 files joined: the header states the length of the first one, and browsers believe it."""
    parts = [write(tmp_path / name, noise(length)).read_bytes() for name, length in (("a.mp3", 4), ("b.mp3", 3))]
    (tmp_path / "joined.mp3").write_bytes(b"".join(parts))
    made = recognition.playable(tmp_path / "joined.mp3", tmp_path)
    assert soundfile.info(made).duration == pytest.approx(7, abs=0.2)
    before = list(tmp_path.iterdir())
    (tmp_path / "a.mp3").write_text("no music")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        recognition.playable(tmp_path / "a.mp3", tmp_path)
    assert list(tmp_path.iterdir()) == before
