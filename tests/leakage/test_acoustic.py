"""Excerpts of recordings match in any format; other sound does not."""

import io

import numpy as np
import pytest
import soundfile
import soxr
from melodies import SECOND, melody

from tarkib import audio
from tarkib.leakage import acoustic


@pytest.fixture(scope="module")
def recordings():
    return [melody(25, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def clips(recordings):
    """Five from each recording: number 5 i + j begins at 5 j seconds of recording i."""
    return [clip for sound in recordings for clip in sound.reshape(-1, audio.CLIP_SAMPLES)]


def coded(sound, rate, **options):
    """A sound written as a file of another rate, and read again."""
    file = io.BytesIO()
    soundfile.write(file, soxr.resample(sound, SECOND, rate), rate, **options)
    file.seek(0)
    return soxr.resample(soundfile.read(file, dtype="float32")[0], rate, SECOND)


FORMS = {
    "quiet and inverted": lambda sound: -0.03 * sound,
    "mp3": lambda sound: coded(0.5 * sound, 44_100, format="MP3"),
    "mp3 of few bits": lambda sound: coded(sound, SECOND, format="MP3", compression_level=0.95),
    "ogg": lambda sound: coded(sound, 22_050, format="OGG"),
    "at 11 kHz": lambda sound: coded(sound, 11_025, format="FLAC"),
    "8 bits": lambda sound: coded(sound, 48_000, format="WAV", subtype="PCM_U8"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("start_s", [6.71, 19.999])
def test_an_excerpt_matches_where_it_was_cut(recordings, clips, form, start_s):
    begin = int(start_s * SECOND)
    excerpt = FORMS[form](recordings[2][begin : begin + audio.CLIP_SAMPLES])
    (match,) = acoustic.find([recordings[0][:100], excerpt], clips)
    assert (match.excerpt, match.clip // 5) == (1, 2)
    assert 5 * (match.clip - 10) + match.lag_s == pytest.approx(start_s, abs=0.1)


@pytest.mark.parametrize(("begin", "end", "clip"), [(5, 6.5, None), (5, 7.5, 16), (5, 16, 16), (-10, 5, 15)])
def test_excerpts_of_other_lengths(recordings, clips, begin, end, clip):
    """Too short, short and long ones, and one that begins with ten seconds of other music."""
    before, begin = melody(max(0, -begin), 77), max(0, begin)
    excerpt = np.concatenate([before, recordings[3][begin * SECOND : int(end * SECOND)]])
    matches = [(match.clip, round(match.lag_s + len(before) / SECOND, 1)) for match in acoustic.find([excerpt], clips)]
    assert matches == ([] if clip is None else [(clip, 0.0)])


def test_a_noisy_excerpt_matches_and_a_clip_that_is_padded(recordings, clips):
    clean = recordings[3][6 * SECOND : int(8.2 * SECOND)]
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    assert [match.clip for match in acoustic.find([clean + 0.5 * np.std(clean) * noise], clips)] == [16]
    padded = audio.fit(recordings[0][: 3 * SECOND])
    assert [match.clip for match in acoustic.find([clips[0]], [melody(5, 50), padded])] == [1]


def test_other_sound_does_not_match(recordings, clips):
    """Other music; silence; the same notes at another speed, and with other phases, similar to the ear."""
    piece = recordings[0][: audio.CLIP_SAMPLES]
    slower = soxr.resample(piece, SECOND, SECOND * 1.03)[: audio.CLIP_SAMPLES].astype(np.float32)
    spectrum = np.fft.rfft(piece.reshape(-1, 600), axis=1)
    phases = np.exp(2j * np.pi * np.random.default_rng(1).random(spectrum.shape))
    smeared = np.fft.irfft(spectrum * phases, axis=1).ravel().astype(np.float32)
    silence = np.zeros(audio.CLIP_SAMPLES, np.float32)
    others = [melody(5, seed) for seed in range(100, 115)]
    assert acoustic.find([slower, smeared, silence, *others], [*clips, silence]) == []
    assert acoustic.find([], clips) == acoustic.find([piece], []) == []
