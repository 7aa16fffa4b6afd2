"""Where trials run: worker processes on this machine. A worker turns a job into a stored outcome and knows no ledger.

Workers are started when first needed (a fresh interpreter each, so no lock or thread is inherited half-held), read the
prepared data from the store through shared memory pages, and outlive their jobs. A worker that dies is replaced and its
job goes on from its last epoch. A worker whose driver dies stops at once.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipeline.environment import cpu_model
from pipeline.store.home import Home
from sweeps.execution.jobs import EpochDone, Event, Job, JobDone, JobFailed, JobStopped
from sweeps.execution.worker import Line, Stopped, die_with_driver, epoch_done, failure, start_worker

MAX_RESTARTS = 2
"""How often one job may kill its worker before it counts as failed: one that exhausts the memory always would."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    restarts: int = 0


class LocalExecutor:
    """`workers` processes on this machine, one thread each."""

    def __init__(self, home: Home, workers: int) -> None:
        self._home = home
        self._limit = workers
        self._workers: list[_Worker] = []  # started when first needed: a sweep that is finished needs none

    def _start(self) -> _Worker:
        return _Worker(*start_worker(_work, self._home))

    @property
    def free(self) -> int:
        return self._limit - sum(worker.job is not None for worker in self._workers)

    def submit(self, job: Job) -> None:
        worker = next((w for w in self._workers if w.job is None), None)
        if worker is None:
            worker = self._start()
            self._workers.append(worker)
        worker.job, worker.restarts = job, 0
        self._send(worker)

    def _send(self, worker: _Worker) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died; events() finds out and replaces it
            worker.connection.send(worker.job)

    def answer(self, job: str, go_on: bool) -> None:
        for worker in self._workers:
            if worker.job and worker.job.id == job:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    worker.connection.send(go_on)

    def events(self, timeout: float) -> list[Event]:
        ready = wait([w.connection for w in self._workers], timeout)
        happened: list[Event] = []
        for worker in self._workers:
            if worker.connection not in ready:
                continue
            try:
                event: Event = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                happened += self._replace(worker)
                continue
            if not isinstance(event, EpochDone):
                worker.job = None
            happened.append(event)
        return happened

    def _replace(self, worker: _Worker) -> Sequence[Event]:
        """A worker died: start another and give it the same job, which goes on from its last epoch."""
        job, restarts = worker.job, worker.restarts + 1
        worker.process.join()
        worker.connection.close()
        code = worker.process.exitcode
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        if job is None:
            return []
        if restarts > MAX_RESTARTS:
            return [JobFailed(job.id, f"its worker process died {restarts} times (exit code {code})")]
        fresh.job, fresh.restarts = job, restarts
        self._send(fresh)
        return []

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [w.process.pid for w in self._workers if w.process.pid]

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()  # safe at any moment: what counts is written atomically
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _work(connection: Connection, home: Home) -> None:
    """The worker process: jobs in, events out, until the driver closes the connection or dies."""
    die_with_driver()
    from pipeline.runs.execute import set_up_process

    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        set_up_process(job.config.runtime.threads)
        connection.send(replace(_do(job, home, connection), cpu=cpu_model()))


def _do(job: Job, home: Home, connection: Line) -> JobDone | JobStopped | JobFailed:
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
        connection.send(event)
        if event.rung and not connection.recv():
            raise Stopped

    try:
        return JobDone(job.id, execute(ctx, job.split, on_epoch).key)
    except Stopped:
        return JobStopped(job.id, reached)
    except Exception as error:
        return failure(job, error)
