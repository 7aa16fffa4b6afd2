"""Where trials run on one GPU: a worker process that trains all the jobs it has as populations of stacked models.

Jobs are collected and handed over together, and more are taken when the last of them is done: the driver's proposals
come in batches. Each job's records, checkpoint, store entry and events are those it would have had alone.
"""

import logging
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.environment import cpu_model
from pipeline.store.home import Home
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.local import MAX_RESTARTS, ended, said_of_hung
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

if TYPE_CHECKING:
    from pipeline.models.architecture import Architecture
    from pipeline.stages.context import Context
    from pipeline.training.state import EpochRecord

log = logging.getLogger("cvae-pipe")


class PopulationExecutor:
    """One worker process; up to `at_once` jobs in lock-step."""

    def __init__(self, home: Home, at_once: int) -> None:
        self._home, self._at_once = home, at_once
        self._waiting: list[Job] = []
        self._running: dict[str, Job] = {}
        self._worker: Worker | None = None  # started when first needed
        self._restarts = 0

    @property
    def free(self) -> int:
        """How many more jobs the next batch takes; none while a batch is under way."""
        return 0 if self._running else self._at_once - len(self._waiting)

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def answer(self, job: str, go_on: bool) -> None:
        if self._worker is not None:
            self._worker.send((job, go_on))

    def events(self, timeout: float) -> list[Event]:
        if self._waiting and not self._running:
            self._running = {job.id: job for job in self._waiting}
            self._waiting, self._restarts = [], 0
            self._send()
        if self._worker is None:
            return []
        wait([self._worker.connection], timeout)
        self._worker.listen()
        happened = [self._heard(event) for event in self._worker.said]
        self._worker.said.clear()
        if self._worker.gone or (self._running and self._worker.hung):
            happened += self._replace(self._worker)
        return happened

    def _heard(self, event: Event) -> Event:
        if not isinstance(event, EpochDone):
            del self._running[event.job]
        return event

    def _send(self) -> None:
        if self._worker is None:
            self._worker = start_worker(_work, self._home, self._at_once)
        self._worker.send(list(self._running.values()))

    def _replace(self, old: Worker) -> list[Event]:
        """The worker is dead or hangs: another gets the jobs that are left, which go on from their checkpoints."""
        hung = not old.gone
        if hung:
            log.warning(said_of_hung(", ".join(self._running), old.pid))
        self._worker = None
        code = old.end()
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            reason = f"the worker process of its population {ended(self._restarts, hung, code)}"
            failed: list[Event] = [JobFailed(job, reason, again=True) for job in self._running]
            self._running = {}
            return failed
        if self._running:
            self._send()
        return []

    @property
    def pids(self) -> list[int]:
        """The worker's process id, if it is there."""
        return [self._worker.pid] if self._worker else []

    def close(self) -> None:
        """Stop the worker now; unfinished jobs keep their checkpoints."""
        end_all([self._worker] if self._worker else [])
        self._worker = None


def _work(line: Pipe, home: Home, at_once: int) -> None:
    """The worker process: batches of jobs in, events out, until the driver closes the connection or dies."""
    from pipeline.runs.execute import set_up_process

    while True:
        try:
            jobs: list[Job] = line.recv()
        except (EOFError, OSError):
            return
        set_up_process(jobs[0].config.runtime.threads)
        _do(jobs, home, line, at_once)
        release_memory()


def _do(jobs: list[Job], home: Home, line: Line, at_once: int) -> None:
    """Train the jobs together, then evaluate and score each."""
    from pipeline.stages.context import Context
    from pipeline.stages.populations import EpochEnd, StoppedError, train_population

    ctxs = [Context(job.config, home) for job in jobs]
    heard: dict[str, int] = {}
    folders = {}

    def on_epochs(ends: list[EpochEnd]) -> set[int]:
        asked = {}
        for end in ends:
            job = jobs[end.member]
            heard[job.id], folders[job.id] = end.record.epoch, end.folder
            event = epoch_done(job, ctxs[end.member], end.record, end.model)
            line.send(event)
            if event.rung:
                asked[job.id] = end.member
        answers = dict(line.recv() for _ in asked)
        return {member for job, member in asked.items() if not answers[job]}

    try:
        failed = train_population(ctxs, on_epochs, at_once=at_once)
    except Exception as error:  # a bug of ours, or a device too small for one member: it is every job's
        for job in jobs:
            line.send(failure(job, error))
        return
    for i, (job, ctx) in enumerate(zip(jobs, ctxs, strict=True)):
        event: JobDone | JobStopped | JobFailed
        if isinstance(failed.get(i), StoppedError):
            event = JobStopped(job.id, folders[job.id])
        elif i in failed:
            event = failure(job, failed[i])
        else:
            event = _scored(job, ctx, heard.get(job.id, 0), line)
        line.send(replace(event, cpu=cpu_model()))


def _scored(job: Job, ctx: "Context", heard: int, line: Line) -> JobDone | JobStopped | JobFailed:
    """The job's stored outcome; epochs that nobody has heard yet, of a training that was in the store, are replayed."""
    from pipeline.runs.execute import execute

    reached = Path()

    def on_epoch(record: "EpochRecord", model: "Architecture | None", folder: Path) -> None:
        nonlocal reached
        reached = folder
        if record.epoch > heard:
            event = epoch_done(job, ctx, record, model)
            line.send(event)
            if event.rung and not line.recv()[1]:
                raise Stopped

    try:
        return JobDone(job.id, execute(ctx, job.split, on_epoch).key)
    except Stopped:
        return JobStopped(job.id, reached)
    except Exception as error:
        return failure(job, error)
