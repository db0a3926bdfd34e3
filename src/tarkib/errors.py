"""The errors that a user is meant to read, and what a signal raises."""

import signal


class TarkibError(Exception):
    """Something that the user can put right.

    The message names the file, the value and the remedy; it is printed alone, without a traceback. Anything else that
    is raised is a defect of this project (`tarkib.runtime.program`).
    """

    def __str__(self) -> str:
        # A process that loads for torch hands on its whole traceback as the message; the message itself ends it.
        return super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip()


class Interrupted(KeyboardInterrupt):
    """The process is asked to end by a signal: Ctrl-C, or another of `tarkib.runtime.program.SIGNALS`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
