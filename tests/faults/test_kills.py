"""Driver and workers killed by SIGKILL wherever they touch a file or a database: the repeat is an undisturbed sweep.

Long form: once at every kind of point that an undisturbed sweep comes to, and at random ones; `make soak`.
"""

import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest
from budget import SEED, note, within_budget
from commands import Commands, Undisturbed, copy, processes_of
from homes import contents, differences, left_over
from points import Point


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
        wrong = []
        for point in lethal:
            once = self.commands.folder / "once"
            once.unlink(missing_ok=True)
            ended = self.undisturbed.again(self.commands, home, lethal=astuple(point), once=str(once))
            died = once.exists()
            self.kills[point.role] += died
            self.missed += not died
            if ended.status != (-signal.SIGKILL if died and point.role == "driver" else 0):
                wrong.append(f"status {ended.status} after {point}: {ended.said[-1000:]}")
            wrong += gone_within_seconds(home)
        repeat = self.undisturbed.again(self.commands, home)
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


def kinds(points: list[tuple[str, str]]) -> list[Point]:
    """One point of every kind that there is: somewhere among its occurrences."""
    chance = random.Random(SEED)
    return [Point(role, label, chance.randint(1, n)) for (role, label), n in sorted(Counter(points).items())]


def test_killed_in_mid_sweep_the_repeat_is_an_undisturbed_one(commands, warm_root, brief):
    """The short form: one story, of a driver's and of a worker's death."""
    kills = Kills(commands, warm_root, brief, Counter())
    chance = random.Random(SEED)
    counted = Counter(role for role, _ in brief.points)
    driver = Point("driver", "", chance.randint(counted["driver"] // 4, counted["driver"] // 2))
    worker = Point("cvae-pipe worker", "", chance.randint(1, counted["cvae-pipe worker"] // 4))
    assert kills.story(driver, worker) == []
    assert kills.kills["driver"] == 1


def all_stories(kills: Kills, stories: list[list[Point]], test: str) -> list[str]:
    """What is wrong with as many of these stories as there is time for; they are drawn in an order of chance."""
    random.Random(SEED).shuffle(stories)
    wrong = []
    for n, lethal in enumerate(within_budget(stories), start=1):
        found = kills.story(*lethal)
        wrong += found
        note(test=test, stories=n, of=len(stories), kills=dict(kills.kills), wrong=len(wrong), last=found[:3])
    return wrong


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_once_at_every_kind_of_point_of_a_brief_sweep(commands, warm_root, brief):
    kills = Kills(commands, warm_root, brief, Counter())
    assert all_stories(kills, [[point] for point in kinds(brief.points)], "brief kinds") == []


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_once_at_every_kind_of_point_that_only_a_whole_sweep_has(commands, warm_root, brief, undisturbed):
    kills = Kills(commands, warm_root, undisturbed, Counter())
    known = set(brief.points)
    stories = [[point] for point in kinds(undisturbed.points) if (point.role, point.label) not in known]
    assert all_stories(kills, stories, "other kinds") == []


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_killed_at_random_three_times_a_story(commands, warm_root, undisturbed):
    kills = Kills(commands, warm_root, undisturbed, Counter())
    chance = random.Random(SEED)
    counted = Counter(role for role, _ in kills.undisturbed.points)
    roles = ["driver", *counted]  # in that order: after a worker's death the sweep goes on to its end
    stories = [
        [
            Point(role, "", chance.randint(1, counted[role] // 4))
            for role in sorted(["driver", *chance.choices(roles, k=2)], key=lambda role: role != "driver")
        ]
        for _ in range(50)
    ]
    assert all_stories(kills, stories, "random") == []
