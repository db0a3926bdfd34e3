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
    "itself": lambda sound: sound,
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


@pytest.mark.parametrize(("seconds", "found"), [(1.5, False), (2.5, True), (11.0, True)])
def test_excerpts_of_other_lengths(recordings, clips, seconds, found):
    excerpt = recordings[3][5 * SECOND : int((5 + seconds) * SECOND)]
    matches = acoustic.find([excerpt], clips)
    assert [(match.excerpt, match.clip, round(match.lag_s, 1)) for match in matches] == [(0, 16, 0.0)] * found


def test_a_short_noisy_excerpt_matches(recordings, clips):
    clean = recordings[3][6 * SECOND : int(8.2 * SECOND)]
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    excerpt = clean + 0.5 * np.std(clean) * noise
    assert [match.clip for match in acoustic.find([excerpt], clips)] == [16]


def test_the_end_of_a_long_excerpt_matches(recordings, clips):
    excerpt = np.concatenate([melody(10, 77), recordings[1][: 5 * SECOND]])
    (match,) = acoustic.find([excerpt], clips)
    assert (match.clip, round(match.lag_s, 1)) == (5, -10.0)


def test_other_music_does_not_match(clips):
    others = [melody(5, seed) for seed in range(100, 115)]
    assert acoustic.find(others, clips) == []


def test_similar_sound_does_not_match(recordings, clips):
    """The same notes at another speed, and with other phases: similar to the ear, but other recordings."""
    piece = recordings[0][: audio.CLIP_SAMPLES]
    slower = soxr.resample(piece, SECOND, SECOND * 1.03)[: audio.CLIP_SAMPLES].astype(np.float32)
    spectrum = np.fft.rfft(piece.reshape(-1, 600), axis=1)
    phases = np.exp(2j * np.pi * np.random.default_rng(1).random(spectrum.shape))
    smeared = np.fft.irfft(spectrum * phases, axis=1).ravel().astype(np.float32)
    assert acoustic.find([slower, smeared], clips) == []


def test_correlation_rejects_candidates(recordings, clips, monkeypatch):
    """With a low threshold for candidates, the matches are the same."""
    monkeypatch.setattr(acoustic, "_ALIKE", 0.02)
    matches = acoustic.find([recordings[1][3 * SECOND : 8 * SECOND], melody(5, 100)], clips)
    assert [match.excerpt for match in matches] == [0]
    assert matches[0].clip in (5, 6)


def test_silence_does_not_match(recordings):
    silence = np.zeros(audio.CLIP_SAMPLES, np.float32)
    assert acoustic.find([silence], [silence, recordings[0][: audio.CLIP_SAMPLES]]) == []
    assert acoustic.find([recordings[0][: audio.CLIP_SAMPLES]], [silence]) == []


def test_a_clip_padded_with_silence_matches(recordings):
    padded = audio.fit(recordings[0][: 3 * SECOND])
    excerpt = recordings[0][: audio.CLIP_SAMPLES]
    assert [match.clip for match in acoustic.find([excerpt], [melody(5, 50), padded])] == [1]


def test_nothing_to_compare(clips):
    assert acoustic.find([], clips) == acoustic.find([clips[0]], []) == []


def test_blocks_do_not_matter(recordings, clips, monkeypatch):
    excerpts = [sound[SECOND : 6 * SECOND] for sound in recordings]
    whole = acoustic.find(excerpts, clips)
    assert len(whole) == 4
    monkeypatch.setattr(acoustic, "_CLIPS_AT_ONCE", 3)
    assert acoustic.find(excerpts, clips) == whole
