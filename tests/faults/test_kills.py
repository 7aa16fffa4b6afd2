"""Driver and workers killed by SIGKILL wherever they touch a file or a database: the repeat is an undisturbed sweep.

Long form: once at every kind of point that an undisturbed sweep comes to, and at random ones; `make soak`.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, copy, processes_of, sweep_arguments
from homes import contents, differences, left_over
from points import Point

SEED = int(os.environ.get("CVAE_PIPE_SOAK_SEED", "0"))


@dataclass
class Undisturbed:
    """A sweep that nobody touched, and the points that it came to."""

    home: Path
    contents: dict[str, Any]
    points: list[tuple[str, str]]
    """(role, label), in their order."""


@pytest.fixture(scope="module")
def undisturbed(commands: Commands, warm_root: Path) -> Undisturbed:
    home, trace = copy(warm_root, commands.folder / "undisturbed"), commands.folder / "trace"
    ended = commands.call(home, *sweep_arguments(commands.folder), trace=str(trace))
    assert ended.status == 0, ended.said
    points = [tuple(line.split("\t")) for line in trace.read_text().splitlines()]
    return Undisturbed(home, contents(home), points)


@dataclass
class Kills:
    """Stories of a sweep that is killed and repeated, and what came of them."""

    commands: Commands
    warm: Path
    undisturbed: Undisturbed
    kills: Counter[str]
    missed: int = 0
    """Points that the sweep did not come to a second time."""

    def story(self, *lethal: Point) -> list[str]:
        """A sweep killed at these points, one after the other, then repeated; what is wrong with it in the end."""
        home = copy(self.warm, self.commands.folder / "killed")
        arguments = sweep_arguments(self.commands.folder)
        wrong = []
        for point in lethal:
            once = self.commands.folder / "once"
            once.unlink(missing_ok=True)
            ended = self.commands.call(home, *arguments, lethal=astuple(point), once=str(once))
            died = once.exists()
            self.kills[point.role] += died
            self.missed += not died
            if ended.status != (-signal.SIGKILL if died and point.role == "driver" else 0):
                wrong.append(f"status {ended.status} after {point}: {ended.said[-1000:]}")
            wrong += gone_within_seconds(home)
        repeat = self.commands.call(home, *arguments)
        if repeat.status != 0 or "Traceback" in repeat.said:
            wrong.append(f"the repeat ends with {repeat.status}: {repeat.said[-1000:]}")
        wrong += differences(self.undisturbed.contents, contents(home))
        wrong += [f"left over: {name}" for name in left_over(home)]
        wrong += gone_within_seconds(home)
        shutil.rmtree(home)
        return [f"{[astuple(p) for p in lethal]}: {line}" for line in wrong]


def gone_within_seconds(home: Path) -> list[str]:
    """Processes of a command on that home that outlive it."""
    deadline = time.monotonic() + 20
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [f"process {pid} is left" for pid in left]


@pytest.fixture
def kills(commands: Commands, warm_root: Path, undisturbed: Undisturbed) -> Iterator[Kills]:
    told = Kills(commands, warm_root, undisturbed, Counter())
    yield told
    print(f"\nkills: {dict(told.kills)}, {told.missed} points not come to again")


def kinds(points: list[tuple[str, str]]) -> list[Point]:
    """One point of every kind that there is: somewhere among its occurrences."""
    chance = random.Random(SEED)
    return [Point(role, label, chance.randint(1, n)) for (role, label), n in sorted(Counter(points).items())]


def test_killed_in_mid_statement_and_in_mid_file_the_repeat_is_an_undisturbed_sweep(kills):
    """The short form: one story, of a driver's and of a worker's death."""
    chance = random.Random(SEED)
    drivers = [i for i, (role, _) in enumerate(kills.undisturbed.points) if role == "driver"]
    workers = sum(role != "driver" for role, _ in kills.undisturbed.points)
    assert (
        kills.story(
            Point("cvae-pipe worker", "", chance.randint(1, workers // 4)), Point("driver", "", len(drivers) // 2)
        )
        == []
    )


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_killed_once_at_every_kind_of_point(kills):
    wrong = []
    for n, point in enumerate(kinds(kills.undisturbed.points)):
        wrong += kills.story(point)
        print(n, astuple(point), wrong[-1:], flush=True)
    assert wrong == []


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_killed_at_random_three_times_a_story(kills):
    chance = random.Random(SEED)
    counted = Counter(role for role, _ in kills.undisturbed.points)
    wrong = []
    for n in range(int(os.environ.get("CVAE_PIPE_SOAK_STORIES", "40"))):
        roles = chance.choices(list(counted), k=3)
        wrong += kills.story(*(Point(role, "", chance.randint(1, max(1, counted[role] // 3))) for role in roles))
        print(n, dict(kills.kills), wrong[-1:], flush=True)
    assert wrong == []
