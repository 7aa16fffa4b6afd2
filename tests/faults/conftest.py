"""Fixtures of the fault-injection suite."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import Commands, Undisturbed, brief_arguments, copy, sweep_arguments
from homes import contents


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Where commands are run, each in a process of its own that need not import anything."""
    zygote = Commands(tmp_path_factory.mktemp("commands"))
    yield zygote
    zygote.close()


def _undisturbed(commands: Commands, warm: Path, name: str, arguments: list[object], *, quiet: bool) -> Undisturbed:
    home, trace = copy(warm, commands.folder / name), commands.folder / f"{name}-trace"
    ended = commands.call(home, *arguments, quiet=quiet, trace=str(trace))
    assert ended.status == 0, ended.said
    points = [tuple(line.split("\t")) for line in trace.read_text().splitlines()]
    return Undisturbed(home, contents(home), points, arguments, quiet)


@pytest.fixture(scope="session")
def undisturbed(commands: Commands, warm_root: Path) -> Undisturbed:
    """What the long forms disturb."""
    return _undisturbed(commands, warm_root, "undisturbed", sweep_arguments(commands.folder), quiet=False)


@pytest.fixture(scope="session")
def brief(commands: Commands, warm_root: Path) -> Undisturbed:
    """What the short forms disturb: it takes seconds."""
    return _undisturbed(commands, warm_root, "brief", brief_arguments(commands.folder), quiet=True)
