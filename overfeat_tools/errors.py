"""The exceptions of the suite, each with the exit status that a command ends with.

`cli.py` is the only place that turns one of these into a line on stderr.  Anything else that
escapes is a bug and keeps its traceback.
"""


class OverfeatError(Exception):
    """Something outside the program's control went wrong; the message is one line for the user."""

    exit_status = 1


class UsageError(OverfeatError):
    """The options contradict each other or the input."""

    exit_status = 2


class ImageError(OverfeatError):
    """A picture can't be used; the stream may go on with the next one."""

    exit_status = 3


class MemoryShortageError(ImageError):
    """A batch needs more memory than there is; a smaller one may do."""


class StreamError(ImageError):
    """The stream itself is broken: nothing after this point can be trusted."""


class WeightsError(OverfeatError):
    """A weight file is missing, or is not what it should be."""

    exit_status = 4


class DownloadError(OverfeatError):
    """The weights could not be fetched."""

    exit_status = 5


class BackendError(OverfeatError):
    """The device asked for is missing or failed."""


def reason(error: Exception) -> str:
    """Say on one line, to be put into a message, what an error of Python or a library means."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return text[:1].lower() + text[1:]
