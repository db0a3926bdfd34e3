"""Files decoded: which decoder reads a file, and what it gives as mono sound at the project's rate.

libsndfile reads most files as they are. `wav`, `ogg`, `flac` and `mpeg` say where the sound is in those that it would
not read, or not to their end; it is then given that sound as one or more files of its own (`Splice`). FFmpeg reads the
rest, and is asked where libsndfile fails before its first sample.
"""

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from tarkib.audio import ffmpeg, flac, mpeg, ogg, wav
from tarkib.audio.channels import Mix
from tarkib.audio.quiet import quiet
from tarkib.audio.rates import SAMPLE_RATE, Resampler, check_rate
from tarkib.audio.scale import LOUDEST, check_samples, full_scale
from tarkib.audio.splice import Layout, Piece, Splice
from tarkib.errors import TarkibError

LIBSNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"})
SUFFIXES = LIBSNDFILE_SUFFIXES | ffmpeg.SUFFIXES
"""Endings of the files that count as recordings, in lower case."""

_BLOCK_SECONDS = 60
_BLOCK_SAMPLES = 1 << 25  # of all channels together, 128 MiB
_MISSED = 0.5  # seconds; encoders and decoders alike add and take away some hundredths
_DENSEST = 65_536 // 8  # samples in a byte: the longest frame of FLAC, and its shortest head
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True)
class Sound:
    """A decoded file: `samples` as the project has them, the rate and length that the file had, and what is odd in it.

    Each of the `remarks` is a clause that follows "used, but".
    """

    samples: np.ndarray
    file_sample_rate: int
    file_seconds: float
    remarks: tuple[str, ...] = ()


class Stream:
    """A file's sound in blocks, for recordings of any length: iterate over it, once.

    Blocks are float32 of shape (n,), mono at `SAMPLE_RATE`, of about a minute; memory does not grow with the recording.
    The attributes are complete when the iteration has ended.

    Iterating raises TarkibError, whose message does not repeat the path, for a file that is empty or not a regular one,
    cannot be decoded, ends before its header says it does, or holds samples that are no sound (`scale`). Where that is
    found out late in the file, the blocks before have been given.

    Attributes
    ----------
    file_sample_rate : of the file (of the first part, where it has several).
    file_seconds : length of what was decoded.
    remarks : what is odd about the file, each a clause that follows "used, but".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file_sample_rate = 0
        self.file_seconds = 0.0
        self.remarks: list[str] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        check_file(self._path)
        try:
            yield from self._blocks()
        except (TarkibError, MemoryError):
            raise
        except OSError as error:
            raise TarkibError(f"cannot be read ({error.strerror or error})") from error
        except Exception as error:  # whatever a decoder raises is the file's fault
            reason = _reason(self._path, error)
            raise TarkibError(f"cannot be decoded ({reason}); is it a damaged file, or another format?") from error
        if self.file_seconds == 0:
            raise TarkibError("holds no samples")

    def _blocks(self) -> Iterator[np.ndarray]:
        layout, refused = _layout(self._path), None
        if layout is not None:
            try:
                yield from self._by_libsndfile(layout)
                return
            except soundfile.LibsndfileError as error:
                # It may have taken the file for another format.
                if self.file_seconds or not ffmpeg.is_there():
                    raise
                refused = error
                self.remarks.clear()
        try:
            yield from self._by_ffmpeg()
        except RuntimeError as error:
            raise refused or error from None
        if refused:
            self._remark(f"FFmpeg decoded it where libsndfile failed ({_reason(self._path, refused)}); is it damaged?")

    def _by_libsndfile(self, layout: Layout) -> Iterator[np.ndarray]:
        self._remark(*layout.remarks)
        parts = layout.parts or [None]
        for number, part in enumerate(parts, start=1):
            try:
                with _opened(self._path, part) as file:
                    yield from self._decoded(file, layout.missing_seconds is not None)
            except (TarkibError, soundfile.LibsndfileError) as error:
                if number == 1:
                    raise
                self._remark(f"part {number} of {len(parts)} is damaged ({_reason(self._path, error)})")
        self._missed(layout.missing_seconds or 0.0)

    def _by_ffmpeg(self) -> Iterator[np.ndarray]:
        seconds, is_said = ffmpeg.seconds(self._path)
        runs = groupby(ffmpeg.blocks(self._path, _BLOCK_SAMPLES), lambda one: (one[0], one[1].shape[1]))
        for (rate, _), run in runs:
            yield from self._mixed(rate, (block for _, block in run), 1.0)
        # Containers know their length roughly, and a video's picture may be a little longer than its sound.
        if is_said and self.file_seconds < 0.9 * seconds:
            self._missed(seconds - self.file_seconds)

    def _missed(self, seconds: float) -> None:
        if self.file_seconds and seconds > _MISSED:
            whole = self.file_seconds + seconds
            self._remark(f"it ends at {self.file_seconds:.2f} of {whole:.2f} s; is it cut short?")

    def _remark(self, *remarks: str) -> None:
        self.remarks += [one for one in remarks if one not in self.remarks]

    def _decoded(self, file: soundfile.SoundFile, may_be_cut: bool) -> Iterator[np.ndarray]:
        """The blocks of one part of a file that libsndfile reads."""
        check_rate(file.samplerate)  # before `full_scale` reads it all
        scale, bits = full_scale(file) if file.subtype in ("FLOAT", "DOUBLE") else (1.0, 0)
        if bits:
            self._remark(f"its samples are in the scale of {bits}-bit integers, and were divided by {scale:,.0f}")
        before = self.file_seconds
        blocks = _read(file)
        if file.format == "MP3":
            # A damaged frame can decode to anything.
            blocks = (np.clip(block, -LOUDEST, LOUDEST, out=block) for block in blocks)
        yield from self._mixed(file.samplerate, blocks, scale)
        there, promised = self.file_seconds - before, file.frames / file.samplerate
        if promised - there <= _MISSED or may_be_cut:
            return
        if file.format == "OGG":  # the number on its last page
            self._remark(f"of its {promised:.2f} s {promised - there:.2f} s are missing; is it damaged?")
        else:
            raise TarkibError(
                f"is cut short: its header promises {promised:.2f} s, {there:.2f} s can be read; copy it anew"
            )

    def _mixed(self, rate: int, blocks: Iterator[np.ndarray], scale: float) -> Iterator[np.ndarray]:
        """Blocks of shape (n, channels) as the project has sound."""
        check_rate(rate)
        mix, resampler, count, before = Mix(rate), Resampler(rate), 0, self.file_seconds
        for block in blocks:
            mono = mix(block if scale == 1.0 else block / np.float32(scale))
            check_samples(mono, rate, count + round(before * rate))
            count += len(mono)
            self.file_seconds = before + count / rate
            yield resampler(mono)
        if count:
            yield resampler.finish()
        self.file_sample_rate = self.file_sample_rate or rate
        if mix.cancelled:
            self._remark("its channels are in opposite phase and cancel each other; the louder one was taken")
        if rate < SAMPLE_RATE * 2 // 3:
            self._remark(f"at {rate} Hz it holds nothing above {rate // 2} Hz")


def stream(path: Path) -> Stream:
    """A file's sound in blocks; see `Stream`."""
    return Stream(path)


def load(path: Path, longest_s: float | None = None) -> Sound:
    """A file's sound at once. Raises TarkibError as `Stream` does, and for one longer than `longest_s`."""
    decoded, blocks = Stream(path), []
    for block in decoded:
        blocks.append(block)
        if longest_s is not None and decoded.file_seconds > longest_s:
            raise TarkibError(f"is longer than {longest_s:g} s; cut it")
    return Sound(np.concatenate(blocks), decoded.file_sample_rate, decoded.file_seconds, tuple(decoded.remarks))


def check_file(path: Path) -> None:
    """Refuse, without opening it, what no decoder need be asked about. Raises OSError where nothing is there."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        # Neither the decoders nor the tables take such a name.
        raise TarkibError("its name is not UTF-8 text; rename it") from error
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "a special file")
        raise TarkibError(f"is not a regular file ({kind})")
    if about.st_size == 0:
        raise TarkibError("the file is empty")


def seconds(path: Path) -> float:
    """Length of a file in seconds as its headers say, 0 where they say none: a guess to plan with."""
    try:
        check_file(path)
        layout = _layout(path)
        if layout is None:
            return ffmpeg.seconds(path)[0]
        total = 0.0
        for part in layout.parts or [None]:
            with _opened(path, part) as file:
                total += file.frames / file.samplerate
        return total
    except Exception:
        return 0.0


def plain(path: Path) -> soundfile._SoundFileInfo | None:
    """What libsndfile says of a file that it reads as it is and to its end; None for all others."""
    try:
        check_file(path)
        layout = _layout(path)
        return _info(path) if layout and not layout.parts else None
    except Exception:
        return None


def _layout(path: Path) -> Layout | None:
    """Where the sound of a file is, None for FFmpeg to find out. Raises TarkibError for one that is cut short."""
    if path.suffix.lower() in ffmpeg.SUFFIXES:
        return None
    layout = _contained(path)
    if layout.parts:
        return layout
    try:
        info = _info(path)
    except RuntimeError:
        return None if ffmpeg.is_there() else layout  # many a file has a wrong ending
    # A FLAC file may have no length, or a wild one.
    return None if info.frames > path.stat().st_size * _DENSEST else layout


def _contained(path: Path) -> Layout:
    """Where the sound is in the formats that need a look."""
    with path.open("rb") as file:
        head = file.read(12)
    if wav.is_wav(head):
        return wav.layout(path)
    if head.startswith(b"OggS"):
        return ogg.layout(path)
    if head.startswith(b"FORM"):
        _check_aiff(head, path.stat().st_size)
    elif head.startswith(b"fLaC"):
        return flac.layout(path)
    elif path.suffix.lower() == ".mp3" or mpeg.is_mp3(path):
        return mpeg.layout(path)
    return Layout()


def _check_aiff(head: bytes, size: int) -> None:
    """Refuse an AIFF file shorter than its header says: libsndfile would shorten the sound in silence."""
    (length,) = struct.unpack(">I", head[4:8].ljust(4, b"\0"))
    if length != 0xFFFFFFFF and size - 8 < length:
        raise TarkibError(
            f"is cut short: its header promises {length:,} bytes of sound, {size - 8:,} are there; copy it anew"
        )


def _info(path: Path) -> soundfile._SoundFileInfo:
    with quiet():
        return soundfile.info(path)


class _File(soundfile.SoundFile):
    def seekable(self) -> bool:
        """Not: one that is makes `read` seek after each block, and Ogg files with lost pages then repeat sound."""
        return False


@contextmanager
def _opened(path: Path, part: tuple[Piece, ...] | None) -> Iterator[soundfile.SoundFile]:
    """A file, or a part of it, open in libsndfile."""
    source = path if part is None else Splice(path, part)
    try:
        with quiet():
            file = _File(source)
        with file:
            yield file
    finally:
        if isinstance(source, Splice):
            source.close()


def _reason(path: Path, error: Exception) -> str:
    """What a decoder says, without the path; libsndfile, of its own formats, even where FFmpeg was asked last."""
    if not isinstance(error, soundfile.LibsndfileError) and path.suffix.lower() in LIBSNDFILE_SUFFIXES:
        try:
            _info(path)
        except soundfile.LibsndfileError as first:
            error = first
    reason = str(getattr(error, "error_string", error)).replace(f" {path}", "").rstrip(".")
    # What libsndfile says of text that is called .mp3.
    return "not a sound file" if "does not exist" in reason else reason


def _read(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Blocks of a file, shape (frames, channels)."""
    most = max(1, min(_BLOCK_SECONDS * file.samplerate, _BLOCK_SAMPLES // file.channels))
    left = file.frames  # behind them there may be anything
    while left:
        with quiet():
            block = file.read(min(most, left), dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        left -= len(block)
        yield block
