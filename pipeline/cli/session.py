"""What every command opens and how it speaks: the home, a context whose progress goes to stderr, results on stdout."""

import errno
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from pipeline.api import open_context, working

    with session() as progress, working(Home.from_environment(), "a stage"):
        yield open_context(config, force=force, say=progress.say, progress=progress.update)


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


def show_metrics(metrics: dict[str, float], paths: dict[str, str], *, json_: bool = False) -> None:
    """Numbers and the paths of what shows them, as one JSON document or for people."""
    if json_:
        print_json({"metrics": metrics, **paths})
        return
    from pipeline.cli.terminal import tables

    tables.show_metrics(metrics)
    for name, path in paths.items():
        say(f"{name}: {path}")


def print_json(document: dict[str, Any]) -> None:
    """One document on stdout."""
    print(json.dumps(document, indent=1))


def say(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr)


def suggest(*commands: str) -> None:
    """The next useful commands: the last line of a command."""
    say("next: " + "   or   ".join(commands))


def quoted(path: Path) -> str:
    """A path as it can be pasted into a shell from here."""
    return shlex.quote(short(path))


def short(path: Path) -> str:
    """A path as it is typed from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
