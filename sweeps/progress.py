"""The state of a sweep as a live table shows it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sweeps.study.config import StudyConfig


@dataclass
class TrialView:
    """A trial as a live table shows it."""

    number: int
    params: dict[str, Any]
    state: str = "running"
    epoch: int = 0
    values: list[float] | None = None
    note: str = ""


@dataclass
class SweepView:
    """The state of a sweep as a live table shows it."""

    config: StudyConfig
    target: int
    trials: dict[int, TrialView] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)
    """Judges that are being trained, and how far each is: scores wait for them."""
    finished_before: int = 0
    first_finished: float | None = None
    """When the first trial of this invocation was finished."""
    doing: str = ""
    """What is under way besides trials, e.g. writing the report."""
    workers: int = 1

    @property
    def finished(self) -> int:
        return sum(t.state in ("complete", "pruned") for t in self.trials.values())

    @property
    def missing(self) -> int:
        """Trials that are still to be finished."""
        return max(0, self.target - self.finished)

    @property
    def eta_seconds(self) -> float | None:
        """Time left at the pace since the first trial of this invocation was finished: what came before it, such as the
        training of judges, comes once. None before every worker has finished one and one of them a second."""
        here = self.finished - self.finished_before
        if here <= self.workers or self.first_finished is None:
            return None
        return (time.time() - self.first_finished) / (here - 1) * self.missing


OnUpdate = Callable[[SweepView], None]
