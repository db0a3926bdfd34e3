"""How every stage and command ends: what it prints, with which exit code, and what a signal does to it.

Imported before anything that takes long to load, so that an interrupt meanwhile is answered too.
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
from typing import Any, NamedTuple

from tarkib.errors import Interrupted, TarkibError
from tarkib.runtime import parent_watch
from tarkib.runtime.text import bounded, escaped_output, printable

DEBUG = "TARKIB_DEBUG"
"""Environment variable; where it is set, an unforeseen error shows its traceback."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_GRACE_S = 1.0
"""For compiled code to return to the interpreter after a signal, and for the interpreter to end in its turn."""

_END_S = 40.0
"""For a program to end in order once it knows of the signal; jobs on a cluster have 30 s."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.EBUSY, errno.EXDEV, errno.EMFILE, errno.ENFILE),
)

_MOST_LINES, _MOST_CHARACTERS = 60, 2_000


class Words(NamedTuple):
    """What is printed after an interrupt, and how to try again after an error of the machine's."""

    interrupted: str
    again: str


STAGE = Words(
    "interrupted; nothing was half-written, run again to go on", "run dvc repro again; nothing was half-written"
)
COMMAND = Words("interrupted", "call again")

_words: Words | None = None
"""Of the program that this process is; None where functions are called from elsewhere, a test say."""

_arrived = 0
"""Number of the signal that the interpreter has come to know of, 0 before."""

_raised: Callable[[], Interrupted | None] = lambda: None  # noqa: E731
"""What was raised on it; None once that was dropped, in a destructor or by a library that catches everything."""


def start(words: Words) -> None:
    """Make this process a program: outside of `guard`, a signal ends it at once, and an error is printed as a line."""
    global _words
    if parent_watch.is_worker():
        # The program's own module is imported there too. Interrupts are its parent's business (`parent_watch.follow`).
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    _words = words
    sys.excepthook = lambda _kind, error, _traceback: _report(error, words)
    sys.unraisablehook = _unraisable
    _handle(_leave)
    parent_watch.watch_dvc()


def _unraisable(dropped: Any) -> None:
    """Print an error that nobody can catch, but for an interrupt, which is raised once more."""
    if not isinstance(dropped.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def guard(run: Callable[[], int | None], words: Words) -> int:
    """Run a program to its end; its exit code.

    What it returns, None for 0; 1 after an error, of which a line was printed; 128 and the signal's number after one of
    `SIGNALS`, on which KeyboardInterrupt is raised, so that what is half-written is cleared away.
    """
    try:
        with escaped_output(), _interruptible(words):
            return run() or 0
    except BaseException as error:
        if not isinstance(error, Exception | KeyboardInterrupt):
            raise
        if _arrived and not isinstance(error, KeyboardInterrupt):
            # A library that was being imported made another error of it.
            error = Interrupted(_arrived)
        code = _report(error, words)
        if code > 1 and _words is not None:
            # Libraries' threads and what they do at the end may take their time.
            threading.Thread(target=_exit_after, args=(_GRACE_S, code), daemon=True).start()
        return code


def _report(error: BaseException, words: Words) -> int:
    """Print what ended a program; its exit code."""
    if isinstance(error, KeyboardInterrupt):
        _print(words.interrupted)
        return 128 + getattr(error, "number", signal.SIGINT)
    if isinstance(error, BrokenPipeError) and _is_unread():
        # Whoever reads (head, say) has enough; the interpreter would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    # A file that was opened before the disk was full is not named in the error.
    where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    if isinstance(error, TarkibError):
        message = str(error)
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        message = f"{where}{error.strerror}; make room (or raise the limit) and {words.again}"
    elif isinstance(error, OSError) and error.errno in _REFUSED:
        message = f"{where}{error.strerror}; see to its disk and permissions and {words.again}"
    elif isinstance(error, MemoryError):
        message = f"out of memory; end other programs, lower run.workers or the batch size, and {words.again}"
    else:
        message = unforeseen(error)
    _print(f"error: {message}")
    return 1


def _is_unread() -> bool:
    """Whether nobody reads the standard output any more."""
    looked = select.poll()
    try:
        looked.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return bool(looked.poll(0))


def unforeseen(error: BaseException) -> str:
    """A line about an error that nobody thought of, whose traceback is printed where `DEBUG` asks for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    return (
        f"unforeseen {type(error).__name__}: {bounded(error, 500)}; this is a defect of Tarkib: "
        f"{DEBUG}=1 shows the traceback"
    )


def _print(text: str) -> None:
    """Print lines to the standard error, bounded and without what controls a terminal."""
    lines = text.split("\n")
    shown = [printable(line[:_MOST_CHARACTERS]) + "…" * (len(line) > _MOST_CHARACTERS) for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"… and {len(lines) - _MOST_LINES} more lines")
    # The terminal may be gone.
    with suppress(OSError, ValueError):
        print(*shown, sep="\n", file=sys.stderr, flush=True)


def _handle(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Let a function handle the signals, but for those that whoever started this process wants ignored (nohup, say).

    Returns the handlers before.
    """
    return {
        number: signal.signal(number, handler) for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN
    }


@contextmanager
def _interruptible(words: Words) -> Iterator[None]:
    """Raise Interrupted on a signal; where compiled code keeps the interpreter from it, end the process instead."""
    global _arrived
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _arrived = 0
    read, write = os.pipe()
    os.set_blocking(write, False)
    fd = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    before = _handle(_raise)
    watch = threading.Thread(target=_leave_in_time, args=(read, words), daemon=True)
    watch.start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(fd)
        os.close(write)
        # It looks at what a later call resets.
        watch.join(_GRACE_S)


def _raise(number: int, _frame: Any) -> None:
    global _arrived, _raised
    error = Interrupted(number)
    _arrived, _raised = number, weakref.ref(error)
    try:
        raise error
    finally:
        del error  # else its own traceback would hold it


def _leave_in_time(read: int, words: Words) -> None:
    """Read the number of each signal as it comes, and end the process where its handler is not called in time."""
    while arrived := os.read(read, 1):
        # A library, a server say, may have put its own handler in the place of ours.
        if signal.getsignal(arrived[0]) is _raise:
            latest = time.monotonic() + _GRACE_S
            while not _arrived and time.monotonic() < latest:
                time.sleep(0.02)
            latest = time.monotonic() + _END_S
            ended = False
            while _raised() and not ended and time.monotonic() < latest:
                ended = bool(select.select([read], [], [], 0.2)[0])
            if not _arrived or (_raised() and not ended):
                _leave(arrived[0], None, words)
            if not ended and not select.select([read], [], [], 0.2)[0]:
                os.kill(os.getpid(), arrived[0])  # it was dropped: raised once more
    os.close(read)


def _leave(number: int, _frame: Any, words: Words | None = None) -> None:
    """End the process at once; what it leaves half-written the next one clears away."""
    with suppress(OSError):
        os.write(2, f"{(words or _words or COMMAND).interrupted}\n".encode())
    os._exit(128 + number)


def _exit_after(seconds: float, code: int) -> None:
    time.sleep(seconds)
    os._exit(code)


def _as_before() -> None:
    """In a forked process signals do what they do by default, and do not reach its parent by way of the pipe."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            if signal.getsignal(number) in (_raise, _leave):
                signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_as_before)
