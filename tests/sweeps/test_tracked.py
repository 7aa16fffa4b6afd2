"""Jobs with their tracked runs: how often curves of what runs are written."""

import contextlib
from types import SimpleNamespace

import pytest

from sweeps import tracked
from sweeps.execution.jobs import EpochDone, Event
from sweeps.tracked import CURVE_SECONDS, CURVE_SHARE, TrackedJobs

SLOW = 0.01
"""Seconds of a request."""


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class Run:
    """A tracked run whose every request takes a while."""

    finished = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.epochs: list[int] = []
        self.requests = 0

    def together(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def log_epochs(self, epochs: dict[int, dict[str, float]]) -> None:
        self._clock.now += SLOW
        self.requests += 1
        self.epochs += epochs


class Training:
    """Jobs of which each has an epoch in every tenth of a second."""

    def __init__(self, clock: Clock, jobs: list[str]) -> None:
        self._clock, self._jobs, self._epoch = clock, jobs, 0

    def events(self, timeout: float) -> list[Event]:
        self._clock.now += 0.1
        self._epoch += 1
        return [EpochDone(job, self._epoch, {"val/kl": 1.0}, {}) for job in self._jobs]


@pytest.mark.parametrize("workers", [1, 256])
def test_curves_of_however_many_trials_take_a_tenth_of_the_driver_at_most_and_lose_nothing(workers, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tracked, "time", clock)
    names = [f"trial {n}" for n in range(workers)]
    jobs = TrackedJobs(SimpleNamespace(), None, Training(clock, names), None, "study", float("inf"))
    jobs.runs = {name: Run(clock) for name in names}
    while clock.now < 120:
        jobs.events()
    for run in jobs.runs.values():
        assert run.epochs == list(range(1, len(run.epochs) + 1)), "each epoch once, in order"
    requests = sum(run.requests for run in jobs.runs.values())
    pause = max(CURVE_SECONDS, workers * SLOW / CURVE_SHARE)
    assert requests * SLOW <= CURVE_SHARE * clock.now + workers * SLOW
    assert requests >= workers * (clock.now // (pause + 0.2)), "and as often as that allows"
