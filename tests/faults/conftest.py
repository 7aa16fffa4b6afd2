"""Fixtures of the fault-injection suite."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import Commands, Undisturbed, copy, sweep_arguments
from homes import contents


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Where commands are run, each in a process of its own that need not import anything."""
    zygote = Commands(tmp_path_factory.mktemp("commands"))
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def undisturbed(commands: Commands, warm_root: Path) -> Undisturbed:
    home, trace = copy(warm_root, commands.folder / "undisturbed"), commands.folder / "trace"
    ended = commands.call(home, *sweep_arguments(commands.folder), trace=str(trace))
    assert ended.status == 0, ended.said
    points = [tuple(line.split("\t")) for line in trace.read_text().splitlines()]
    return Undisturbed(home, contents(home), points)
