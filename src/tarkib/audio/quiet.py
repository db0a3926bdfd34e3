"""Keeps the warnings of C libraries from the terminal: libmpg123 prints some for every damaged MP3 file."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what C code writes to its standard error meanwhile; Python's own, another stream, stays.

    One thread at a time. Without effect where the platform's C library has no such variable.
    """
    with _lock:
        kept = _STDERR.value
        _STDERR.value = _NULL or kept
        try:
            yield
        finally:
            _STDERR.value = kept


def _streams() -> tuple[ctypes.c_void_p, int | None]:
    """C's variable for the standard error, and a stream to the null device; None where either is not known."""
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        stderr = ctypes.c_void_p.in_dll(library, {"linux": "stderr", "darwin": "__stderrp"}[sys.platform])
        return stderr, library.fopen(os.devnull.encode(), b"w")
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return ctypes.c_void_p(), None


_STDERR, _NULL = _streams()
