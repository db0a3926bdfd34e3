import threading
from contextlib import closing

import numpy as np
import test_recogniser
from conftest import noise, write

from tarkib.errors import TarkibError
from tarkib.recognition import sound
from tarkib.recognition.sound import open_sounds

RATE = 24_000


class Streams:
    """Recordings of `count` blocks of a second, in place of files; `held` is the most that was decoded ahead."""

    def __init__(self, monkeypatch, tmp_path, count: int) -> None:
        self.lock, self.begun = threading.Lock(), {name: threading.Event() for name in "abcdefgh"}
        self.ahead, self.held = 0, 0
        self.files = [write(tmp_path / f"{name}.wav", noise(1.0), RATE) for name in self.begun]

        def iterate(stream):
            name = stream._path.stem
            for number in range(count):
                with self.lock:
                    self.ahead += 1
                    self.held = max(self.held, self.ahead)
                self.begun[name].set()
                yield np.full(RATE, ord(name) + number / 1000, np.float32)

        monkeypatch.setattr("tarkib.audio.Stream.__iter__", iterate)

    def take(self, blocks) -> list[float]:
        found = []
        for block in blocks:
            with self.lock:
                self.ahead -= 1
            found.append(float(block[0]))
        return found


def test_recordings_are_decoded_ahead_in_order_and_within_bounds(monkeypatch, tmp_path):
    streams = Streams(monkeypatch, tmp_path, 30)
    with closing(open_sounds(streams.files, 2)) as recordings:
        first = next(recordings)
        assert all(streams.begun[name].wait(60) for name in "abc")
        assert not streams.begun["d"].is_set()
        found = [streams.take(first)]
        found.extend(map(streams.take, recordings))
    expected = [[ord(name) + number / 1000 for number in range(30)] for name in "abcdefgh"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert streams.held <= 3 * 2 * sound._AT_ONCE


def test_threads_end_with_what_uses_them(monkeypatch, tmp_path):
    streams = Streams(monkeypatch, tmp_path, 30)
    with closing(open_sounds(streams.files, 2)) as recordings:
        next(recordings)
        assert any(thread.name.startswith("decoding") for thread in threading.enumerate())
    assert not any(thread.name.startswith("decoding") for thread in threading.enumerate())


def test_recognition_is_the_same_with_threads_and_a_damaged_recording_stops_no_other(tmp_path):
    files = [write(tmp_path / f"{k}.wav", noise(7.0 + k, seed=k), RATE) for k in range(4)]
    files[1].write_bytes(files[1].read_bytes()[:-50_000])
    results = []
    for threads in (0, 3):
        ears, probabilities, errors = test_recogniser.recogniser(), [], []
        with closing(open_sounds(files, threads)) as recordings:
            for number, blocks in enumerate(recordings):
                try:
                    probabilities.append(ears.recognise(blocks).window_probabilities)
                except TarkibError as error:
                    errors.append((number, str(error)))
        results.append((probabilities, errors, ears.classifier.clips))
    assert [number for number, _ in results[0][1]] == [1]
    assert results[0][1] == results[1][1]
    for one, other in zip(results[0][0] + results[0][2], results[1][0] + results[1][2], strict=True):
        np.testing.assert_array_equal(one, other)
