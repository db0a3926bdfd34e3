"""Files decoded to mono at the project's rate.

libsndfile reads most files as they are. `containers` and `mpeg` find the sound in those that it would not read, or not
to their end. FFmpeg reads the rest, and is tried where libsndfile fails before its first sample.
"""

import mmap
import stat
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from tarkib.audio import containers, ffmpeg, mpeg, sndfile
from tarkib.audio.samples import SAMPLE_RATE, Mix, check_rate, check_samples, full_scale, resample_blocks
from tarkib.audio.sndfile import Layout
from tarkib.errors import TarkibError

LIBSNDFILE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf"})
SUFFIXES = LIBSNDFILE_SUFFIXES | ffmpeg.SUFFIXES
"""Endings of the files that count as recordings, in lower case."""

_TOLERANCE_S = 0.5  # encoders and decoders alike add and take away some hundredths of a second
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}


class Sound(NamedTuple):
    """A decoded file; the attributes but `samples` are those of `Stream`."""

    samples: np.ndarray
    file_sample_rate: int
    file_seconds: float
    remarks: tuple[str, ...] = ()


class Stream:
    """A file's sound in blocks of about a minute, so that memory does not grow with it: iterate over it, once.

    Blocks are float32 of shape (n,), mono at `SAMPLE_RATE`. Iterating raises TarkibError, whose message does not repeat
    the path, where the file cannot be read or decoded, ends before its header says it does, or holds samples that
    `check_samples` refuses; the blocks before the fault have been given by then. Afterwards `file_sample_rate` is the
    file's (its first part's), `file_seconds` the length of what was decoded, and `remarks` are what is odd about the
    file, each a clause that follows "used, but".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file_sample_rate = 0
        self.file_seconds = 0.0
        self.remarks: list[str] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            check_file(self._path)
            yield from self._blocks()
        except TarkibError:
            raise
        except OSError as error:
            raise TarkibError(f"cannot be read ({error.strerror or error})") from error
        except Exception as error:  # decoders raise all kinds for a damaged file
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
                if self.file_seconds or not ffmpeg.is_installed():
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
                with sndfile.opened(self._path, part) as file:
                    yield from self._part(file, may_be_cut=layout.missing_seconds is not None)
            except (TarkibError, soundfile.LibsndfileError) as error:
                if number == 1:
                    raise
                self._remark(f"part {number} of {len(parts)} is damaged ({_reason(self._path, error)})")
        self._remark_missing(layout.missing_seconds or 0.0)

    def _by_ffmpeg(self) -> Iterator[np.ndarray]:
        seconds, is_exact = ffmpeg.seconds(self._path)
        blocks = ffmpeg.blocks(self._path, sndfile.BLOCK_SAMPLES)
        for (rate, _), run in groupby(blocks, lambda block: (block[0], block[1].shape[1])):
            yield from resample_blocks(self._mono(rate, (block for _, block in run)), rate)
        # Containers know their length roughly, and a video's picture may be a little longer than its sound.
        if is_exact and self.file_seconds < 0.9 * seconds:
            self._remark_missing(seconds - self.file_seconds)

    def _remark_missing(self, seconds: float) -> None:
        if self.file_seconds and seconds > _TOLERANCE_S:
            whole = self.file_seconds + seconds
            self._remark(f"it ends at {self.file_seconds:.2f} of {whole:.2f} s; is it cut short?")

    def _remark(self, *remarks: str) -> None:
        self.remarks += [remark for remark in remarks if remark not in self.remarks]

    def _part(self, file: soundfile.SoundFile, may_be_cut: bool) -> Iterator[np.ndarray]:
        """The blocks of one part of a file that libsndfile reads."""
        check_rate(file.samplerate)  # before `full_scale` reads it all
        scale, bits = full_scale(file) if file.subtype in ("FLOAT", "DOUBLE") else (1.0, 0)
        if bits:
            self._remark(f"its samples are in the scale of {bits}-bit integers, and were divided by {scale:,.0f}")
        before = self.file_seconds
        yield from resample_blocks(self._mono(file.samplerate, sndfile.blocks(file), scale), file.samplerate)
        decoded, promised = self.file_seconds - before, file.frames / file.samplerate
        if promised - decoded <= _TOLERANCE_S or may_be_cut:
            return
        if file.format != "OGG":
            raise TarkibError(
                f"is cut short: its header promises {promised:.2f} s, {decoded:.2f} s can be read; copy it again"
            )
        # An Ogg file's length is the number on its last page.
        self._remark(f"{promised - decoded:.2f} s of its {promised:.2f} s are missing; is it damaged?")

    def _mono(self, rate: int, blocks: Iterator[np.ndarray], scale: float = 1.0) -> Iterator[np.ndarray]:
        """Blocks of shape (n, channels) as mono of full scale 1.0, still at the file's rate."""
        check_rate(rate)
        mix, count, before = Mix(rate), 0, self.file_seconds
        for block in blocks:
            mono = mix(block if scale == 1.0 else block / np.float32(scale))
            check_samples(mono, rate, count + round(before * rate))
            count += len(mono)
            self.file_seconds = before + count / rate
            yield mono
        self.file_sample_rate = self.file_sample_rate or rate
        if mix.cancelled:
            self._remark("its channels are in opposite phase and cancel each other; the louder one was taken")
        if rate < SAMPLE_RATE * 2 // 3:
            self._remark(f"at {rate} Hz it holds nothing above {rate // 2} Hz")


def load(path: Path, longest_s: float | None = None) -> Sound:
    """A file's whole sound. Raises TarkibError as `Stream` does, and where it is longer than `longest_s`."""
    stream, blocks = Stream(path), []
    for block in stream:
        blocks.append(block)
        if longest_s is not None and stream.file_seconds > longest_s:
            raise TarkibError(f"is longer than {longest_s:g} s; cut it")
    return Sound(np.concatenate(blocks), stream.file_sample_rate, stream.file_seconds, tuple(stream.remarks))


def check_kind(path: Path | str, mode: int) -> None:
    """Refuse a file that no decoder and no table can take, by its name and mode."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise TarkibError("its name is not UTF-8 text; rename it") from error
    if not stat.S_ISREG(mode):
        raise TarkibError(f"is not a regular file ({_KINDS.get(stat.S_IFMT(mode), 'a device')})")


def check_file(path: Path) -> None:
    """As `check_kind`, and refuse an empty file. Raises OSError where there is none."""
    status = path.stat()
    check_kind(path, status.st_mode)
    if status.st_size == 0:
        raise TarkibError("the file is empty")


def seconds(path: Path) -> float:
    """Length of a file in seconds as its headers say, 0 where they do not: an estimate to plan with."""
    try:
        check_file(path)
        layout = _layout(path)
        if layout is None:
            return ffmpeg.seconds(path)[0]
        total = 0.0
        for part in layout.parts or [None]:
            with sndfile.opened(path, part) as file:
                total += file.frames / file.samplerate
        return total
    except Exception:
        return 0.0


def plain(path: Path) -> soundfile._SoundFileInfo | None:
    """Description by libsndfile of a file that it reads as it is and to its end; None for all others."""
    try:
        check_file(path)
        layout = _layout(path)
        return sndfile.info(path) if layout and not layout.parts else None
    except Exception:
        return None


def _layout(path: Path) -> Layout | None:
    """Where the sound of a file is, None where only FFmpeg can tell. Raises TarkibError where it is cut short."""
    if path.suffix.lower() in ffmpeg.SUFFIXES:
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        layout = containers.layout(data)
        if layout is None:
            layout = mpeg.layout(data) if path.suffix.lower() == ".mp3" or mpeg.is_mp3(data) else Layout()
    if not layout.parts and ffmpeg.is_installed():
        try:
            sndfile.info(path)
        except RuntimeError:
            return None  # the ending may be wrong
    return layout


def _reason(path: Path, error: Exception) -> str:
    """A decoder's message, without the path."""
    reason = str(getattr(error, "error_string", error)).replace(f" {path}", "").rstrip(".")
    # libsndfile's message for text that is called .mp3.
    return "not a sound file" if "does not exist" in reason else reason
