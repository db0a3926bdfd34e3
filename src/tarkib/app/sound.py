"""Sound that a browser can play."""

import threading
import uuid
from collections import OrderedDict
from pathlib import Path

import soundfile

from tarkib import audio
from tarkib.errors import TarkibError

_PLAYED = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"},
    "WAVEX": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
}
"""Formats, and what is inside them, that every current browser plays; names are libsndfile's."""


class Converted:
    """The last few files that were made playable; several threads may use one.

    Parameters
    ----------
    folder : where to put them.
    most : how many stay.
    """

    def __init__(self, folder: Path, most: int):
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[Path, int], Path] = OrderedDict()

    def of(self, path: Path) -> Path:
        """As `playable` gives it, made once as long as it stays and the file is not changed.

        Raises OSError too, for a file that is not there.
        """
        if _is_played(path):
            return path
        version = (path, path.stat().st_mtime_ns)
        with self._lock:
            if version not in self._made:
                self._made[version] = playable(path, self._folder)
            self._made.move_to_end(version)
            if len(self._made) > self._most:
                _, oldest = self._made.popitem(last=False)
                oldest.unlink(missing_ok=True)
            return self._made[version]


def playable(path: Path, folder: Path) -> Path:
    """The file itself where browsers play its format, else a FLAC file in `folder` with what the classifier hears.

    Raises TarkibError, whose message does not repeat the path, for what cannot be decoded.
    """
    if _is_played(path):
        return path
    target = folder / f"{uuid.uuid4().hex}.flac"
    try:
        with soundfile.SoundFile(target, "w", audio.SAMPLE_RATE, 1, "PCM_16") as file:
            for block in audio.Stream(path):
                file.write(block)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError | soundfile.LibsndfileError):
            raise TarkibError(f"cannot be made playable in {folder} ({error}); is the disk full?") from error
        raise
    return target


def media_type(path: Path) -> str:
    """What a file that `playable` gave is, for the browser; never more than sound, whatever its name says."""
    about = audio.plain(path)
    kind = about.format if about else ""
    return {"FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg"}.get(kind, "audio/wav")


def _is_played(path: Path) -> bool:
    # A file that has to be put right first is none: browsers know no better where the sound is, or how long.
    about = audio.plain(path)
    return about is not None and about.subtype in _PLAYED.get(about.format, ())
