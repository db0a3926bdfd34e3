import errno
import os
import signal
import subprocess
import sys

import pytest

from tarkib import cli
from tarkib.errors import TarkibError
from tarkib.runtime import program

WITHIN_S = 120.0  # what is waited for comes in a second


def raising(error: BaseException):
    def run() -> None:
        raise error

    return run


def test_the_process_of_the_tests_is_not_a_program():
    """Else an interrupt that a test gives `guard` would end it a second later: no test may import `stages`."""
    assert not program._is_program


def test_what_a_program_returns_is_its_exit_code():
    assert [program.guard(lambda code=code: code) for code in (None, 0, 2)] == [0, 0, 2]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TarkibError("a.wav: is empty"), "a.wav: is empty"),
        (OSError(errno.ENOSPC, "No space left", "a.tar"), "a.tar: No space left; make room (or raise the limit)"),
        (PermissionError(errno.EACCES, "denied", "data"), "data: denied; check the disk and permissions"),
        (MemoryError(), "out of memory; end other programs, lower run.workers or the batch size, and run again"),
        (
            ValueError("a\nb"),
            "unforeseen ValueError: a b; this is a defect of Tarkib: TARKIB_DEBUG=1 shows the traceback",
        ),
        # To another than the reader of the standard output.
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "unforeseen BrokenPipeError: "),
    ],
)
def test_an_error_is_a_line(capsys, monkeypatch, error, line):
    monkeypatch.delenv(program.DEBUG, raising=False)
    assert program.guard(raising(error)) == 1
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(f"error: {line}")


def test_an_interrupt_is_a_line(capsys):
    assert program.guard(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == f"{program.INTERRUPTED}\n"


def test_an_interrupt_of_which_a_library_made_another_error_is_one(capsys):
    def run() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("could not be imported") from error

    assert program.guard(run) == 143
    assert capsys.readouterr().err == f"{program.INTERRUPTED}\n"
    assert program.guard(raising(ValueError())) == 1


def test_a_terminal_is_not_controlled_nor_flooded(capsys):
    program.guard(raising(TarkibError("\x1b[2Ja\r\tb\x9b\nnext: " + "x" * 3_000 + "\nx" * 99)))
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first == r"error: \u001b[2Ja\u000d\u0009b\u009b"
    assert second.startswith("next: xxx")
    assert len(second) == 2_001
    assert rest[-1] == "… and 41 more lines"
    program.guard(raising(ValueError("y" * 10**6)))
    assert len(capsys.readouterr().err) < 700


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_debug_shows_the_traceback_of_the_unforeseen_alone(capsys, monkeypatch, debug):
    monkeypatch.setenv(program.DEBUG, "")  # so that it is put back
    monkeypatch.setattr("tarkib.cli.verify.run", lambda _: raising(ValueError("nobody thought of this"))())
    assert cli.main([*debug, "verify", "data/mixtures"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") == bool(debug)
    assert "error: unforeseen ValueError: nobody thought of this" in printed
    program.guard(raising(TarkibError("a.wav: is empty")))
    assert capsys.readouterr().err == "error: a.wav: is empty\n"


def started(code: str) -> subprocess.Popen:
    """A program that prints a line once it can be sent a signal."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from tarkib.runtime import program\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


GUARDED = """
program.start()
raise SystemExit(program.guard(run))
"""

LOADING = """
program.start()
print("ready", flush=True)
input()
"""

CLEARING_UP = f"""
import tempfile
def run():
    with tempfile.TemporaryDirectory() as folder:
        print(folder, flush=True)
        input()
{GUARDED}"""

IN_COMPILED_CODE = f"""
import hashlib
def run():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # takes minutes and looks at no signal
{GUARDED}"""

ENDING_SLOWLY = f"""
import threading
def run():
    threading.Thread(target=threading.Event().wait).start()  # the interpreter waits for it at its end
    print("ready", flush=True)
    input()
{GUARDED}"""

DROPPED = f"""
def run():
    print("ready", flush=True)
    class Dropping:
        def __del__(self):
            input()
    Dropping()
    try:
        input()
    except BaseException:
        pass
    input()
{GUARDED}"""

FORKING = f"""
import os, signal
def run():
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
{GUARDED}"""


@pytest.mark.parametrize(
    ("code", "number"),
    [
        *((CLEARING_UP, number) for number in program.SIGNALS),
        *((code, signal.SIGTERM) for code in (LOADING, IN_COMPILED_CODE, ENDING_SLOWLY, DROPPED)),
    ],
)
def test_a_signal_ends_a_program_whatever_it_is_doing(code, number):
    process = started(code)
    folder = process.stdout.readline().strip()
    process.send_signal(number)
    assert process.wait(WITHIN_S) == 128 + number
    assert process.stderr.read() == f"{program.INTERRUPTED}\n"
    assert not os.path.exists(folder)


def test_a_signal_that_is_ignored_stays_so():
    process = started(f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{LOADING}")
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=WITHIN_S)
    assert process.returncode == 0


def test_a_signal_to_a_forked_process_is_its_own():
    process = started(FORKING)
    printed, complaint = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, printed, complaint) == (0, f"{-signal.SIGTERM}\n", "")


def test_an_error_while_modules_are_loaded_is_a_line():
    process = started("program.start()\nimport nowhere_at_all")
    complaint = process.communicate(timeout=WITHIN_S)[1]
    assert process.returncode == 1
    assert complaint.startswith("error: unforeseen ModuleNotFoundError: No module named 'nowhere_at_all'; ")
    assert len(complaint.splitlines()) == 1


def test_a_reader_that_has_enough_is_no_error():
    process = started("program.start()\nraise SystemExit(program.guard(lambda: print('x' * 10**6)))")
    process.stdout.close()
    assert process.wait(WITHIN_S) == 1
    assert process.stderr.read() == ""
