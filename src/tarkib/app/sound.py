"""Sound that a browser can play."""

import hashlib
import os
from pathlib import Path

import soundfile

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file

_PCM = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"}

# By libsndfile's names: the media type of each format, and the encodings that every current browser plays.
_PLAYED = {
    "WAV": ("audio/wav", _PCM),
    "WAVEX": ("audio/wav", _PCM),
    "FLAC": ("audio/flac", {"PCM_S8", "PCM_16", "PCM_24"}),
    "OGG": ("audio/ogg", {"VORBIS", "OPUS"}),
    "MP3": ("audio/mpeg", {"MPEG_LAYER_III"}),
}


def media_type(path: Path) -> str | None:
    """The media type of a file whose format browsers play, by its content; None for others.

    A file whose headers are wrong is among the others: browsers believe the headers.
    """
    about = audio.plain(path)
    kind, encodings = _PLAYED.get(about.format if about else "", (None, set()))
    return kind if about and about.subtype in encodings else None


def playable(path: Path, scratch: Path) -> Path:
    """The file itself where browsers play its format, else a FLAC file in `scratch`, which is made once.

    Raises TarkibError for what cannot be decoded, OSError for what does not exist.
    """
    if media_type(path):
        return path
    version = f"{path}\0{path.stat().st_mtime_ns}"
    target = scratch / f"{hashlib.sha256(os.fsencode(version)).hexdigest()}.flac"
    if not target.exists():
        try:
            with (
                atomic_file(target) as partial,
                soundfile.SoundFile(partial, "w", audio.SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file,
            ):
                for block in audio.Stream(path):
                    file.write(block)
        except soundfile.LibsndfileError as error:
            raise TarkibError(f"{path.name}: cannot be converted in {scratch} ({error}); is the disk full?") from error
    return target
