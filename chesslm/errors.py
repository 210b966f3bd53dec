"""The two ways in which a command ends badly by the user's hand or the machine's.

``chesslm.endings`` turns both into one line on stderr; from Python they are ordinary exceptions.
"""


class InputError(ValueError):
    """Bad usage or bad input; the message says what is wrong and what to do. Exit code 2."""


class FailureError(RuntimeError):
    """Something failed that the input is not to blame for (a full disk, a dead engine). Exit code 1."""


class DivergedError(FailureError):
    """The loss of a training run is no longer a number, or rises and does not fall."""


def first_line(error: BaseException) -> str:
    """What a library says of an error, as far as it fits into one line; its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
