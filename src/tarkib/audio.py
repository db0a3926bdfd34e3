"""Sound from files, and what is measured of it.

Conventions
-----------
Inside the project sound is mono, float32 with full scale 1.0, shape ``(n,)``, at `SAMPLE_RATE`; a clip has
`CLIP_SAMPLES` samples, which is `CLIP_SECONDS`.
"""

import importlib.util
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile
import soxr

from tarkib import mpeg
from tarkib.errors import TarkibError

SAMPLE_RATE = 24_000
"""Samples a second that MERT hears, and so everything here."""

CLIP_SECONDS = 5.0
CLIP_SAMPLES = int(CLIP_SECONDS * SAMPLE_RATE)

LIBSNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"})
FFMPEG_SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".mp4", ".mka", ".mkv", ".webm", ".mov", ".avi", ".wv", ".ape"})
SUFFIXES = LIBSNDFILE_SUFFIXES | FFMPEG_SUFFIXES
"""Endings of the files that count as recordings, in lower case; of a video the sound is heard."""

_BLOCK_SECONDS = 60
_MISSED = 0.5  # seconds; encoders and decoders alike add and take away some hundredths
_UNKNOWN = 2**63 - 1  # samples, libsndfile says of a FLAC file that was written by a stream
_RATES = (1_000, 768_000)


@dataclass(frozen=True)
class Sound:
    """A decoded file: `samples` as the project has them, and the rate and length that the file had.

    `missing_seconds` is how much longer an MP3 file calls itself; it was cut short, mostly.
    """

    samples: np.ndarray
    file_sample_rate: int
    file_seconds: float
    missing_seconds: float = 0.0


def load(path: Path) -> Sound:
    """Decode a file, mix it down to mono (the channels' mean) and resample it to `SAMPLE_RATE`.

    Raises TarkibError, whose message does not repeat the path, for a file that is empty, cannot be decoded, ends before
    its header says it does, or holds NaN or infinite samples.
    """
    _check_file(path)
    decode = _decode_ffmpeg if needs_ffmpeg(path) else _decode_libsndfile
    mono, rate, promised = decode(path)
    if mono.size == 0:
        raise TarkibError("holds no samples")
    check_finite(mono, rate)
    return Sound(resample(mono, rate), rate, mono.size / rate, max(0.0, (promised - mono.size) / rate))


def stream(path: Path) -> Iterator[np.ndarray]:
    """Decode as `load` does, but a minute at a time: blocks of samples, shape (n,), for recordings of any length.

    Memory does not grow with the recording. Resampling in a stream rounds a little differently than resampling at once.
    Errors as in `load`; where a cut file is found out only at its end, the blocks before have been given.
    `promised_seconds` tells what the end of an MP3 file does not.
    """
    _check_file(path)
    opened = _opened_by_ffmpeg if needs_ffmpeg(path) else _opened
    with opened(path) as (rate, blocks):
        stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        before = 0
        for block in blocks:
            check_finite(block, rate, before)
            before += len(block)
            yield block if rate == SAMPLE_RATE else stream.resample_chunk(block)
        if before == 0:
            raise TarkibError("holds no samples")
        if rate != SAMPLE_RATE:
            yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _check_file(path: Path) -> None:
    """Refuse what no decoder need be asked about."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # Neither the decoders nor the tables take such a name.
        raise TarkibError("its name is not UTF-8 text; rename it") from error
    if path.stat().st_size == 0:
        raise TarkibError("the file is empty")


def check_finite(mono: np.ndarray, rate: int, before: int = 0) -> None:
    """Refuse NaN and infinities, naming the first one's second; `before` samples came earlier."""
    finite = np.isfinite(mono)
    if not finite.all():
        first = (before + int(np.argmin(finite))) / rate
        raise TarkibError(f"holds NaN or infinite samples, the first at {first:.2f} s; export it anew")


def seconds(path: Path) -> float:
    """Length of a file in seconds as its header says, 0 where it says none: a guess to plan with."""
    try:
        if needs_ffmpeg(path):
            return max(0.0, float(_ffmpeg(path).info(str(path)).duration))
        return soundfile.info(path).duration
    except (TarkibError, RuntimeError, UnicodeEncodeError):
        return 0.0


def promised_seconds(path: Path) -> float:
    """The length that a file has if it is whole, 0 where that is not known, as of what FFmpeg decodes.

    The header's of a video may be that of its picture, so that a shorter sound is no sign of a cut.
    """
    return 0.0 if needs_ffmpeg(path) else _whole_seconds(path, seconds(path))


def cut_short(there_s: float, missing_s: float) -> str:
    """A remark on a recording of `there_s` seconds that calls itself `missing_s` longer; empty where that is little."""
    if missing_s <= _MISSED:
        return ""
    return f"it ends at {there_s:.2f} of {there_s + missing_s:.2f} s; is it cut short?"


def needs_ffmpeg(path: Path) -> bool:
    """Whether libsndfile cannot read a file, or does not know how long it is and would not read all of it."""
    suffix = path.suffix.lower()
    if suffix in FFMPEG_SUFFIXES:
        return True
    try:
        info = soundfile.info(path)
    except RuntimeError:
        # What libsndfile says of its own formats is to be told; another ending says nothing.
        return suffix not in SUFFIXES and _has_ffmpeg()
    if info.frames == _UNKNOWN:
        return True
    # It stops where an MP3 file without a length, or the first of several joined ones, would end by its guess.
    return _whole_seconds(path, info.duration) > info.duration and _has_ffmpeg()


def _whole_seconds(path: Path, said_s: float) -> float:
    """Length that a file says it has, or of an MP3 file that of its frames where they last longer."""
    by_frames = mpeg.seconds(path) if path.suffix.lower() == ".mp3" else 0.0
    return by_frames if by_frames > said_s + _MISSED else said_s


def _decode_libsndfile(path: Path) -> tuple[np.ndarray, int, int]:
    """Mono samples, rate, and number of samples that the header promises.

    In blocks, so that a long multichannel recording needs no more memory than its mono mix.
    """
    with _opened(path) as (rate, blocks):
        mono = _joined(blocks)
    promised = round(_whole_seconds(path, soundfile.info(path).duration) * rate)
    if mono.size < promised and path.suffix.lower() != ".mp3":
        raise TarkibError(
            f"is cut short: its header promises {promised / rate:.2f} s, "
            f"{mono.size / rate:.2f} s can be read; copy it anew"
        )
    return mono, rate, promised


def _decode_ffmpeg(path: Path) -> tuple[np.ndarray, int, int]:
    """As `_decode_libsndfile`, but that a cut file is not noticed."""
    with _opened_by_ffmpeg(path) as (rate, blocks):
        mono = _joined(blocks)
    return mono, rate, mono.size


def _joined(blocks: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *blocks])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Rate and mono blocks of a file; libsndfile's message becomes an error, also where decoding breaks off later."""
    _check_length(path)
    try:
        with soundfile.SoundFile(path) as file:
            check_rate(file.samplerate)
            yield file.samplerate, _blocks(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        if "does not exist" in reason:
            reason = "not a sound file"  # what libsndfile says of text that is called .mp3
        raise TarkibError(f"cannot be decoded ({reason}); is it a damaged file, or another format?") from error


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Blocks of a file mixed down to mono, shape (frames,)."""
    while True:
        block = file.read(_BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        yield block.mean(axis=1, dtype=np.float32)


@contextmanager
def _opened_by_ffmpeg(path: Path) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """As `_opened`, with FFmpeg's decoders."""
    try:
        decoder = _ffmpeg(path).AudioDecoder()
        rate = int(decoder.load_file(str(path)).sample_rate)
        check_rate(rate)
        yield rate, _frames(decoder, rate)
    except RuntimeError as error:
        raise TarkibError(f"cannot be decoded ({error}); is it a damaged file, or another format?") from error


def _frames(decoder: Any, rate: int) -> Iterator[np.ndarray]:
    """What FFmpeg decodes, mixed down to mono and joined to blocks of a minute, shape (frames,)."""
    frames: list[np.ndarray] = []
    held = 0
    while (frame := decoder.get_frame()) is not None:
        frames.append(np.asarray(frame).mean(axis=0, dtype=np.float32))
        held += len(frames[-1])
        if held >= _BLOCK_SECONDS * rate:
            yield np.concatenate(frames)
            frames, held = [], 0
    if frames:
        yield np.concatenate(frames)


def check_rate(rate: int) -> None:
    """Refuse a rate that no recording has: resampling from a few Hz would fill the memory."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise TarkibError(
            f"says that it has {rate} samples a second; between {_RATES[0]:,} and {_RATES[1]:,} are read. "
            "Correct its header, or export it anew"
        )


def _check_length(path: Path) -> None:
    """Refuse a WAV or AIFF file shorter than its header says: libsndfile would shorten the sound in silence.

    A WAV length of 0 or 0xFFFFFFFF is what programs write that stream and cannot go back; such files pass.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        kind, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        if kind == b"FORM":
            length = int.from_bytes(length.to_bytes(4, "little"), "big")
        elif kind == b"RIFF":
            file.seek(4, 1)
            while len(header := file.read(8)) == 8:
                name, length = struct.unpack("<4sI", header)
                if name == b"data":
                    break
                file.seek(length + length % 2, 1)
        else:
            return
        there = size - file.tell()
    if length not in (0, 0xFFFFFFFF) and there < length:
        raise TarkibError(f"is cut short: its header promises {length} bytes of sound, {there} are there; copy it anew")


def _has_ffmpeg() -> bool:
    return importlib.util.find_spec("avioflow") is not None


def _ffmpeg(path: Path) -> ModuleType:
    """The library of the extra `formats`, which brings FFmpeg's decoders for what libsndfile does not read."""
    try:
        import avioflow
    except ImportError as error:
        raise TarkibError(f"this {path.suffix} file needs a decoder: pip install 'tarkib[formats]'") from error
    avioflow.set_log_level("quiet")
    return avioflow


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring samples, shape (n,), from `rate` Hz to `SAMPLE_RATE` (soxr, high quality)."""
    if rate == SAMPLE_RATE:
        return samples.astype(np.float32, copy=False)
    return soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32, copy=False)


def fit(samples: np.ndarray, length: int = CLIP_SAMPLES) -> np.ndarray:
    """Cut samples, shape (n,), to `length`, or pad them with silence at the end."""
    if samples.size >= length:
        return samples[:length]
    return np.pad(samples, (0, length - samples.size))


def rms(samples: np.ndarray) -> float:
    """Root mean square of samples, shape (n,); 0 for none."""
    if samples.size == 0:
        return 0.0
    # In double precision: a float32 sum over minutes of sound loses digits.
    return math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))


def decibels(amplitude: float, floor: float = -120.0) -> float:
    """Amplitude relative to full scale in dB, never below `floor`, so that silence stays a number."""
    return max(floor, 20.0 * math.log10(amplitude)) if amplitude > 0 else floor


def amplitude(level_db: float) -> float:
    """Inverse of `decibels`."""
    return 10.0 ** (level_db / 20.0)
