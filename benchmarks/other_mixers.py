"""Other ways to make the same mixtures, to be timed: the original research code's recipe, and scaper.

They need what Tarkib does not: ``pip install pydub pyrubberband scaper`` and the programs ffmpeg, rubberband and sox
(Debian: ffmpeg, rubberband-cli, sox). None of it is a dependency of the project; rubberband is under the GPL.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr

from tarkib import audio
from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE

_ORIGINAL_RATE = 44_100

Rows = tuple[dict, ...]
"""The components of a mixture, rows of their table."""


@dataclass(frozen=True)
class Job:
    """Some mixtures for one process: the folder of their slices as files, and their components."""

    slices: Path
    mixtures: tuple[Rows, ...]


def _timed(make: Callable[[Rows, Path], None], job: Job) -> float:
    """Mixtures a second of one process, after a first one that pays for what is loaded or compiled once."""
    with tempfile.TemporaryDirectory() as folder:
        make(job.mixtures[0], Path(folder))
        begun = time.perf_counter()
        for rows in job.mixtures[1:]:
            make(rows, Path(folder))
        return (len(job.mixtures) - 1) / (time.perf_counter() - begun)


def _faster(samples: np.ndarray, rate: int, bpm: float, target: float) -> np.ndarray:
    """Samples brought from one tempo to another by rubberband; as they are where there is no tempo."""
    import pyrubberband

    return pyrubberband.time_stretch(samples, rate, target / bpm) if bpm and target and bpm != target else samples


def original(job: Job) -> float:
    """The original's recipe, its rate put right: decode MP3, track beats, stretch by rubberband, overlay, write MP3.

    With the libraries that it uses: pydub, which starts ffmpeg for each file, and librosa, on 44.1 kHz stereo.
    """
    from pydub import AudioSegment

    def make(rows: Rows, folder: Path) -> None:
        mixture, target = None, 0.0
        for row in rows:
            segment = AudioSegment.from_mp3(job.slices / row["instrument"] / f"{row['slice_id']}.mp3")
            samples = np.array(segment.get_array_of_samples()).reshape(-1, segment.channels) / 2**15
            mono = librosa.resample(samples.mean(axis=1), orig_sr=segment.frame_rate, target_sr=22_050)
            bpm = float(np.atleast_1d(librosa.beat.beat_track(y=mono, sr=22_050)[0])[0])
            target = target or bpm
            played = _faster(samples, segment.frame_rate, bpm, target)
            pcm = np.clip(played * 2**15, -(2**15), 2**15 - 1).astype(np.int16)
            part = AudioSegment(pcm.tobytes(), frame_rate=segment.frame_rate, sample_width=2, channels=segment.channels)
            mixture = part if mixture is None else mixture.overlay(part)
        mixture.export(folder / "mixture.mp3", format="mp3")

    return _timed(make, job)


def original_in_process(job: Job) -> float:
    """The same recipe at its best: libsndfile in place of ffmpeg's processes, and 24 kHz mono as we have it."""

    def make(rows: Rows, folder: Path) -> None:
        sounds, target = [], 0.0
        for row in rows:
            path = job.slices / row["instrument"] / f"{row['slice_id']}.mp3"
            samples = audio.resample(soundfile.read(path, dtype="float32")[0].mean(axis=1), _ORIGINAL_RATE)
            bpm = float(np.atleast_1d(librosa.beat.beat_track(y=samples, sr=SAMPLE_RATE)[0])[0])
            target = target or bpm
            sounds.append(audio.fit(_faster(samples, SAMPLE_RATE, bpm, target)))
        soundfile.write(folder / "mixture.mp3", np.sum(sounds, axis=0), SAMPLE_RATE)

    return _timed(make, job)


def write_slice(folder: Path, slice_id: str, samples: np.ndarray) -> None:
    """A slice as the other ways read it: WAV at 24 kHz mono, MP3 at 44.1 kHz stereo. Where it is there it is left."""
    path = folder / f"{slice_id}.wav"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE)
    original = soxr.resample(samples, SAMPLE_RATE, _ORIGINAL_RATE)
    soundfile.write(path.with_suffix(".mp3"), np.column_stack([original, original]), _ORIGINAL_RATE)


def scaper(job: Job) -> float:
    """Scaper with the same slices, stretches and gains, from WAV files to WAV files, without annotations."""
    vars(np).setdefault("Inf", np.inf)  # scaper 1.6.5 spells it as numpy 1 did
    import scaper as library

    background = job.slices.parent / "background"
    background.mkdir(exist_ok=True)

    def make(rows: Rows, folder: Path) -> None:
        mixer = library.Scaper(CLIP_SECONDS, str(job.slices), str(background), random_state=1)
        mixer.sr, mixer.ref_db = SAMPLE_RATE, -26
        for row in rows:
            mixer.add_event(
                label=("const", row["instrument"]),
                source_file=("const", str(job.slices / row["instrument"] / f"{row['slice_id']}.wav")),
                source_time=("const", 0.0),
                event_time=("const", 0.0),
                # What is played faster ends earlier: scaper reads no further than the file.
                event_duration=("const", CLIP_SECONDS / max(row["stretch"], 1.0)),
                snr=("const", row["gain_db"]),
                pitch_shift=None,
                # Scaper's factor is of the duration.
                time_stretch=("const", 1 / row["stretch"]) if row["stretch"] != 1.0 else None,
            )
        mixer.generate(str(folder / "mixture.wav"), fix_clipping=True, no_audio=False)

    return _timed(make, job)
