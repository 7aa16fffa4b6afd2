"""What must not grow over hundreds of trials: a worker's memory, open files, processes, temporary files."""

import os
import random
from pathlib import Path

import pytest
from budget import SEED, note, within_budget
from helpers import copy_of, quick_config, run_jobs

from sweeps.execution.jobs import Event, Job, JobDone
from sweeps.execution.local import LocalExecutor

WARM_UP, LONG = 20, 300
FLAT = 1.05


def memory(pid: int) -> float:
    """MB of a process that are its own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def shared_memory() -> set[str]:
    """Files in /dev/shm; folders there are somebody's own."""
    return {path.name for path in Path("/dev/shm").iterdir() if path.is_file()}


def zombies() -> list[str]:
    """Children of this process that have ended and that nobody asked about."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == os.getpid() and state == "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_worker_is_as_large_after_300_trials_as_after_20(warm_root, tmp_path):
    home = copy_of(warm_root, tmp_path / "home")
    executor = LocalExecutor(home, 1)
    chance = random.Random(SEED)
    shm = shared_memory()

    def go_on(event: Event) -> None:
        if getattr(event, "rung", None):
            executor.answer(event.job, go_on=True)

    sizes, files, temporary = [], [], []
    try:
        for n in within_budget(range(LONG), first=0):
            config = quick_config(
                train__beta=chance.uniform(0.2, 8),
                model__latent_dim=chance.randint(2, 40),
                model__hidden=[chance.choice([64, 200])],
                train__seed=n,
            )
            objectives = ("neg_elbo", "conditional_accuracy", "coverage_relative")
            [ended] = run_jobs(executor, [Job(str(n), config, "val", (1,), objectives)], go_on).values()
            assert isinstance(ended, JobDone)
            [pid] = executor.pids
            sizes.append(memory(pid))
            files.append(len(os.listdir(f"/proc/{pid}/fd")))
            temporary.append(sum(path.is_file() for path in (home.root / ".cache" / "tmp").rglob("*")))
            assert zombies() == []
            note(test="growth", trials=n + 1, megabytes=round(sizes[-1]), open_files=files[-1], temporary=temporary[-1])
    finally:
        executor.close()
    if len(sizes) > 2 * WARM_UP:
        middle = sorted(sizes[WARM_UP - 5 : WARM_UP + 5])[5]
        assert sorted(sizes[-10:])[5] <= FLAT * middle
    assert len(set(files[WARM_UP:])) <= 1
    assert len(set(temporary[WARM_UP:])) <= 1
    assert shared_memory() <= shm
