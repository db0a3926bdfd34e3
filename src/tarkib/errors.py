"""The one error that a user is meant to read."""


class TarkibError(Exception):
    """Something that the user can put right.

    The message names the file, the value and the remedy; stages print it alone, without a traceback. Anything else that
    is raised is a defect of this project and keeps its traceback.
    """

    def __str__(self) -> str:
        # A process that loads for torch hands on its whole traceback as the message; the message itself ends it.
        return super().__str__().rpartition(f"{__name__}.{type(self).__name__}: ")[2].rstrip()
