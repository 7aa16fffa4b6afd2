"""What every command opens and how it speaks: results on stdout; progress, hints and errors on stderr."""

import errno
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.terminal.volume import quiet
from pipeline.config.settings import RunConfig
from pipeline.errors import CvaePipeError
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.cli.terminal.progress import StageProgress
    from pipeline.stages.context import Context

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""A system's ways to say that it will not write: no right to, read-only, disk or quota full."""

WRONG_TARGET = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)
"""Of a rename: what is in the way is the target."""


@contextmanager
def session() -> Iterator["StageProgress"]:
    """Somebody to tell during long work: what is said and the progress go to stderr."""
    with refusals_in_one_line():
        home = Home.from_environment()
        home.check_writable()
        from pipeline.cli.terminal.progress import StageProgress

        with home.scratch(), StageProgress() as progress:
            yield progress


@contextmanager
def stage_session(config: RunConfig, *, force: set[str]) -> Iterator["Context"]:
    """A context for single stages."""
    from pipeline.api import LOADING, busy, open_context, working

    with session() as progress, working(Home.from_environment(), "a stage"):
        with busy(progress.update, LOADING):
            context = open_context(config, force=force, say=progress.say, progress=progress.update)
        yield context


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    """What the system refuses becomes one clear line: no space, no right, a file where a directory should be."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in UNWRITABLE:
            raise
        refused = "written" if error.errno in UNWRITABLE else "used"
        where = error.filename2 if error.errno in WRONG_TARGET and error.filename2 else error.filename
        raise CvaePipeError(
            f"{where or 'a file'} cannot be {refused} ({error.strerror}); when it is mended the same command goes on"
        ) from error
    except MemoryError as error:
        raise CvaePipeError("there is not enough memory; with more of it the same command goes on") from error


def found(text: str) -> None:
    """A line of what a command is for: on stdout."""
    print(text)


def say(text: str) -> None:
    """A line on stderr of how it went and what comes next; not where only results and errors are wanted."""
    if not quiet():
        complain(text)


def complain(text: str) -> None:
    """A line on stderr that is never left out; after what was found, where both go to one file."""
    sys.stdout.flush()
    print(text, file=sys.stderr)


def suggest(*commands: str) -> None:
    """The next useful commands: the last line of a command."""
    say("next: " + "   or   ".join(commands))


def quoted(path: Path) -> str:
    """A path as it can be pasted into a shell from here."""
    return shlex.quote(short(path))


def ui_of(experiment: str | None) -> str:
    """The command that shows what was recorded, in the experiment that was asked for."""
    return f"cvae-pipe ui --experiment {shlex.quote(experiment)}" if experiment else "cvae-pipe ui"


def short(path: Path) -> str:
    """A path as it is typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
