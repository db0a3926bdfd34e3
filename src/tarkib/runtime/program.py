"""How every stage and command ends: exit code, printed line, and what a signal does.

Imported before anything that takes long to load, so that a signal meanwhile is handled, too.
"""

import errno
import os
import select
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tarkib.errors import Interrupted, TarkibError
from tarkib.runtime import parent_watch
from tarkib.runtime.text import bounded, escaped_output, printable

DEBUG = "TARKIB_DEBUG"
"""Environment variable; if set, an unforeseen error shows its traceback."""

INTERRUPTED = "interrupted; nothing is half-written, run again to go on"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_GRACE_S = 1.0  # for compiled code to return to the interpreter after a signal, and for the interpreter to exit
_CLEANUP_S = 40.0  # for a program to end in order after a signal; jobs on a cluster have 30 s

_ROOM, _PERMISSIONS = "make room (or raise the limit)", "check the disk and permissions"
_REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM)
_REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE), _PERMISSIONS)
_REMEDIES |= dict.fromkeys((errno.EBUSY, errno.EXDEV, errno.EMFILE, errno.ENFILE), _PERMISSIONS)

_MAX_LINES, _MAX_CHARACTERS = 60, 2_000

_is_program = False
"""Whether `start` was called; false where functions are called from elsewhere, as in tests."""

_arrived = 0
"""Number of the latest signal that was handled in `guard`, 0 before."""

_raised: Callable[[], Interrupted | None] = lambda: None  # noqa: E731
"""Weak reference to what it raised: None once a destructor, or a library that catches everything, has dropped it."""


def start() -> None:
    """Make this process a program: outside of `guard`, a signal ends it at once, and an error is printed as a line."""
    global _is_program
    if parent_watch.is_worker():
        # Workers import the program's main module; the parent handles Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    _is_program = True
    sys.excepthook = lambda _kind, error, _traceback: _report(error)
    sys.unraisablehook = _print_unraisable
    _handle(_exit)
    parent_watch.watch_dvc()


def guard(run: Callable[[], int | None]) -> int:
    """Run a program and return its exit code.

    The code is what `run` returns (None is 0), 1 after an error, which is printed as a line, or 128 + the number of a
    signal. A signal raises KeyboardInterrupt in `run`, so that half-written outputs are deleted.
    """
    global _arrived
    _arrived = 0
    try:
        with escaped_output(), _interruptible():
            return run() or 0
    except (Exception, KeyboardInterrupt) as error:
        # A library that was being imported may have made another error of an interrupt.
        is_disguised = _arrived and not isinstance(error, KeyboardInterrupt)
        code = _report(Interrupted(_arrived) if is_disguised else error)
    if code > 1 and _is_program:
        # Threads of libraries could delay the interpreter's exit.
        timer = threading.Timer(_GRACE_S, os._exit, (code,))
        timer.daemon = True
        timer.start()
    return code


def _report(error: BaseException) -> int:
    """Print what ended a program; returns the exit code."""
    if isinstance(error, KeyboardInterrupt):
        _print(INTERRUPTED)
        return 128 + getattr(error, "number", signal.SIGINT)
    if isinstance(error, BrokenPipeError) and _is_unread():
        # Else the interpreter complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, TarkibError):
        message = str(error)
    elif isinstance(error, OSError) and (remedy := _REMEDIES.get(error.errno or 0)):
        # An OSError of an open file (disk full) has no file name.
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror}; {remedy} and run again; nothing is half-written"
    elif isinstance(error, MemoryError):
        message = "out of memory; end other programs, lower run.workers or the batch size, and run again"
    else:
        message = unforeseen(error)
    _print(f"error: {message}")
    return 1


def unforeseen(error: BaseException) -> str:
    """A line for an error that is a defect; prints the traceback if `DEBUG` is set."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    name = type(error).__name__
    return f"unforeseen {name}: {bounded(error, 500)}; this is a defect of Tarkib: {DEBUG}=1 shows the traceback"


def _is_unread() -> bool:
    """Whether the reader of the standard output (`head`, say) has closed it."""
    poll = select.poll()
    with suppress(OSError, ValueError):
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    return False


def _print(text: str) -> None:
    """Print lines to the standard error, cut and without terminal control characters."""
    lines = text.split("\n")
    shown = [printable(line[:_MAX_CHARACTERS]) + "…" * (len(line) > _MAX_CHARACTERS) for line in lines[:_MAX_LINES]]
    if len(lines) > _MAX_LINES:
        shown.append(f"… and {len(lines) - _MAX_LINES} more lines")
    # The terminal may be gone.
    with suppress(OSError, ValueError):
        print(*shown, sep="\n", file=sys.stderr, flush=True)


def _print_unraisable(dropped: Any) -> None:
    """Print an error in a destructor, except an interrupt, which is raised again."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _handle(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Handle the signals, except those that the parent wants ignored (nohup); returns the previous handlers."""
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise Interrupted on a signal; exit where compiled code does not return to the interpreter."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup_fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    handlers = _handle(_raise)
    watch = threading.Thread(target=_watch, args=(read,), daemon=True)
    watch.start()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_fd)
        os.close(write)
        watch.join(_GRACE_S)


def _raise(number: int, _frame: Any) -> None:
    global _arrived, _raised
    error = Interrupted(number)
    _arrived, _raised = number, weakref.ref(error)
    try:
        raise error
    finally:
        del error  # its traceback holds this frame, which would keep it alive


def _watch(read: int) -> None:
    """Follow each signal, whose number comes through the pipe, until the program ends and closes the pipe."""

    def has_more(seconds: float) -> bool:
        return bool(select.select([read], [], [], seconds)[0])

    while byte := os.read(read, 1):
        number = byte[0]
        if signal.getsignal(number) is not _raise:
            continue  # a library, a server say, has set its own handler
        for is_over, seconds in ((lambda: _arrived, _GRACE_S), (lambda: not _raised(), _CLEANUP_S)):
            latest = time.monotonic() + seconds
            while not is_over() and not has_more(0.02):
                if time.monotonic() > latest:
                    _exit(number, None)
        if not has_more(0.2):
            os.kill(os.getpid(), number)  # the exception was dropped: raise it again
    os.close(read)


def _exit(number: int, _frame: Any) -> None:
    """End the process at once; the next run deletes what is half-written."""
    with suppress(OSError):
        os.write(2, f"{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def _reset_in_fork() -> None:
    """Default handlers in a forked process, whose signals would reach its parent through the pipe."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) in (_raise, _exit):
                signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_reset_in_fork)
