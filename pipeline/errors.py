"""The exception tree. Knows nothing else.

    CvaePipeError            a user's mistake or a fact of the outside world: one line, exit code 2
    ├── ConfigError          a setting that does not exist, or a value out of range
    ├── DataError            a data set that is missing, corrupt, or too small for what was asked
    ├── DivergedError        a loss that became nan or infinite
    ├── JudgeError           a judge below its gate
    ├── StudyError           a sweep that cannot be started or resumed as asked
    ├── TrackingError        a tracking server that cannot be reached
    ├── ReportError          a file that is no report, or a number whose source makes no sense
    │   └── ElsewhereError   a report of which nothing is in this home; exit code 3
    ├── ExportError          a file for another program that would not say what the model says
    ├── DamageError          a stored result whose bytes are not what was written
    ├── PackError            a file that is no packed study, or one that nobody should unpack
    └── HomeError            a directory that cannot be written, or is in use by another process

Everything else that escapes is a bug of ours and keeps its traceback.
"""


class CvaePipeError(Exception):
    """What was wrong, what is allowed, what to do next: the message is the whole user interface."""

    exit_code = 2


class ConfigError(CvaePipeError):
    """A setting that does not exist, or a value that is out of range."""


class DataError(CvaePipeError):
    """A data set that is missing, corrupt, or too small for what was asked."""


class DivergedError(CvaePipeError):
    """A loss that became nan or infinite."""


class JudgeError(CvaePipeError):
    """A judge that is below its gate."""


class StudyError(CvaePipeError):
    """A sweep that cannot be started or resumed as asked."""


class TrackingError(CvaePipeError):
    """A tracking server that cannot be reached."""


class ReportError(CvaePipeError):
    """A file that is no report, or a number whose source makes no sense."""


class ElsewhereError(ReportError):
    """A report that was made in another home: there is nothing here to check it against."""

    exit_code = 3


class ExportError(CvaePipeError):
    """A file for another program that would not say what the model says."""


class DamageError(CvaePipeError):
    """A stored result whose bytes are not what was written."""


class PackError(CvaePipeError):
    """A file that is no packed study, or one that nobody should unpack."""


class HomeError(CvaePipeError):
    """A directory that cannot be written, or is in use by another process."""


def cause(error: BaseException) -> str:
    """The innermost reason of an error, on one line."""
    while True:
        inner = getattr(error, "orig", None) or error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
