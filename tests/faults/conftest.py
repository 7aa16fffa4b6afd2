"""Fixtures of the fault-injection suite."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commands import Commands


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """Where commands are run, each in a process of its own that need not import anything."""
    zygote = Commands(tmp_path_factory.mktemp("commands"))
    yield zygote
    zygote.close()
