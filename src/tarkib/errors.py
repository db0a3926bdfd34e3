"""The errors that a user is meant to read, and what a signal raises."""

import signal


class TarkibError(Exception):
    """An error that the user can fix; the message names file, value and remedy, and is printed without a traceback."""

    def __str__(self) -> str:
        # A DataLoader's worker hands on its whole traceback as the message, which ends with the message itself.
        return super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip()


class Interrupted(KeyboardInterrupt):
    """A signal asks the process to end: Ctrl-C or another of `tarkib.runtime.program.SIGNALS`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
