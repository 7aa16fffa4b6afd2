"""Where trials run: worker processes on this machine. A worker turns a job into a stored outcome and knows no ledger.

Workers are started when first needed (a fresh interpreter each, so no lock or thread is inherited half-held), read the
prepared data from the store through shared memory pages, and outlive their jobs. A worker that dies is replaced and its
job goes on from its last epoch; so is one that hangs. A worker whose driver dies stops at once.
"""

import logging
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

from pipeline.environment import cpu_model
from pipeline.store.home import Home
from sweeps.execution import worker as workers
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.worker import (
    Line,
    Pipe,
    Stopped,
    Worker,
    end_all,
    epoch_done,
    failure,
    release_memory,
    start_worker,
)

MAX_RESTARTS = 2
"""How often one job may kill or hang its worker before it counts as failed: one that exhausts the memory always
would."""

log = logging.getLogger("cvae-pipe")


@dataclass
class _Place:
    """A worker, and what it does."""

    worker: Worker
    job: Job | None = None
    restarts: int = 0


class LocalExecutor:
    """`workers` processes on this machine, one thread each."""

    def __init__(self, home: Home, workers: int) -> None:
        self._home = home
        self._limit = workers
        self._places: list[_Place] = []  # started when first needed: a sweep that is finished needs none

    def _start(self) -> Worker:
        return start_worker(_work, self._home)

    @property
    def free(self) -> int:
        return self._limit - sum(place.job is not None for place in self._places)

    def submit(self, job: Job) -> None:
        place = next((p for p in self._places if p.job is None), None)
        if place is None:
            place = _Place(self._start())
            self._places.append(place)
        place.job, place.restarts = job, 0
        place.worker.send(job)

    def answer(self, job: str, go_on: bool) -> None:
        for place in self._places:
            if place.job and place.job.id == job:
                place.worker.send(go_on)

    def events(self, timeout: float) -> list[Event]:
        deadline = time.monotonic() + timeout
        happened: list[Event] = []
        replaced = False
        while not happened and not replaced:
            left = max(0.0, deadline - time.monotonic())
            ready = wait([p.worker.connection for p in self._places], min(left, workers.BEAT_SECONDS))
            for place in self._places:
                place.worker.listen()
                while place.worker.said:
                    event: Event = place.worker.said.popleft()
                    if not isinstance(event, EpochDone):
                        place.job = None
                    happened.append(event)
                if place.worker.gone or (place.job and place.worker.hung):
                    replaced = True
                    happened += self._replace(place)
            if not ready and time.monotonic() >= deadline:
                break
        return happened

    def _replace(self, place: _Place) -> list[Event]:
        """A worker is dead or hangs: start another and give it the same job, which goes on from its last epoch."""
        job, old = place.job, place.worker
        hung = not old.gone
        if hung:
            log.warning(said_of_hung(job.id if job else "no job", old.pid))
        code = old.end()
        place.worker, place.job = self._start(), None
        if job is None:
            return []
        place.restarts += 1
        if place.restarts > MAX_RESTARTS:
            return [JobFailed(job.id, f"its worker process {ended(place.restarts, hung, code)}", again=True)]
        place.job = job
        place.worker.send(job)
        return []

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [place.worker.pid for place in self._places]

    def close(self) -> None:
        end_all([place.worker for place in self._places])


def said_of_hung(job: str, pid: int) -> str:
    """What is said of a worker that is replaced because it does not move."""
    return (
        f"{job}: its worker process {pid} has not moved for {workers.STILL_SECONDS:g} s; it is replaced, and the "
        "training goes on from its last checkpoint"
    )


def ended(times: int, hung: bool, code: int | None) -> str:
    """How a worker came to its end, as a reason."""
    return f"hung {times} times" if hung else f"died {times} times (exit code {code})"


def _work(line: Pipe, home: Home) -> None:
    """The worker process: jobs in, events out, until the driver closes the connection or dies."""
    from pipeline.runs.execute import set_up_process

    while True:
        try:
            job: Job = line.recv()
        except (EOFError, OSError):
            return
        set_up_process(job.config.runtime.threads)
        line.send(replace(_do(job, home, line), cpu=cpu_model()))
        release_memory()


def _do(job: Job, home: Home, line: Line) -> JobDone | JobStopped | JobFailed:
    from pipeline.models.architecture import Architecture
    from pipeline.runs.execute import execute
    from pipeline.stages.context import Context
    from pipeline.training.state import EpochRecord

    ctx = Context(job.config, home)
    reached = Path()

    def on_epoch(record: EpochRecord, model: Architecture | None, folder: Path) -> None:
        nonlocal reached
        reached = folder
        event = epoch_done(job, ctx, record, model)
        line.send(event)
        if event.rung and not line.recv():
            raise Stopped

    try:
        return JobDone(job.id, execute(ctx, job.split, on_epoch).key)
    except Stopped:
        return JobStopped(job.id, reached)
    except Exception as error:
        return failure(job, error)
