"""Keeps the warnings of C libraries from the terminal: libmpg123 prints some for every damaged MP3 file."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = {"linux": "stderr", "darwin": "__stderrp"}

_lock = threading.Lock()
_users = 0
_kept: int | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Send what C code writes to its standard error away meanwhile; Python's own, another stream, stays.

    Several threads may be inside at once. Without effect where the platform's C library has no such variable.
    """
    if _STDERR is None:
        yield
        return
    global _users, _kept
    with _lock:
        if _users == 0:
            _kept, _STDERR.value = _STDERR.value, _NOWHERE
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _STDERR.value = _kept


def _found() -> tuple["ctypes.c_void_p | None", int]:
    """C's variable for the standard error, and a stream that leads nowhere; None where there is none."""
    try:
        library = ctypes.CDLL(None)
        variable = ctypes.c_void_p.in_dll(library, _NAMES[sys.platform])
        library.fopen.restype = ctypes.c_void_p
        nowhere = library.fopen(os.devnull.encode(), b"w")
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return None, 0
    return (variable, nowhere) if nowhere else (None, 0)


_STDERR, _NOWHERE = _found()
