"""Jobs and the events of their execution, and the protocol of whatever executes them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.config.settings import RunConfig


@dataclass(frozen=True)
class Job:
    """One configuration to be opened on a split."""

    id: str
    config: RunConfig
    split: str
    rungs: tuple[int, ...] = ()
    """Epochs after which the worker scores the model and waits to hear whether it goes on."""
    objectives: tuple[str, ...] = ()
    """What is scored there."""


@dataclass(frozen=True)
class EpochDone:
    """An epoch of a job; at a rung with the values of its objectives there, and the worker waits for an answer."""

    job: str
    epoch: int
    metrics: dict[str, float]
    rung: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobDone:
    """A job's outcome is in the store under `key`."""

    job: str
    key: str
    cpu: str = field(default="", compare=False)
    """What the CPU calls itself that the job ended on."""


@dataclass(frozen=True)
class JobStopped:
    """The job was told to stop at a rung; `folder` holds what it had written."""

    job: str
    folder: Path
    cpu: str = field(default="", compare=False)


@dataclass(frozen=True)
class JobFailed:
    """The job cannot be finished: a diverged loss, or a bug of ours with its traceback."""

    job: str
    reason: str
    details: str = ""
    environment: bool = False
    """Whether it is not the job's fault but the machine's: no space, no memory, a file that cannot be read. Then it is
    no result; the same job may go through another time."""
    again: bool = False
    """Whether it may go through another time although this counts as a result: its worker died or hung too often, or
    the bug is mended. A loss that diverges does so every time."""
    cpu: str = field(default="", compare=False)


Ended = JobDone | JobStopped | JobFailed
Event = EpochDone | Ended


class Executor(Protocol):
    """Runs jobs; whichever it is, the same jobs give the same outcomes."""

    @property
    def free(self) -> int:
        """How many jobs can be submitted now."""
        ...

    def submit(self, job: Job) -> None: ...

    def events(self, timeout: float) -> list[Event]:
        """What has happened since the last call; waits up to `timeout` seconds for something to happen."""
        ...

    def answer(self, job: str, go_on: bool) -> None:
        """The answer to an EpochDone at a rung. The same rung may be announced again after a worker was killed."""
        ...

    def close(self) -> None:
        """Stop every worker now; unfinished jobs keep their checkpoints."""
        ...
