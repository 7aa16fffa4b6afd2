"""Where trials run: worker processes on this machine. A worker turns a job into a stored outcome and knows no ledger.

Workers are started when first needed (a fresh interpreter each, so no lock or thread is inherited half-held), read the
prepared data from the store through shared memory pages, and outlive their jobs. A worker that dies is replaced and its
job goes on from its last epoch. A worker whose driver dies stops at once.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.config import RunConfig
from pipeline.errors import CvaePipeError
from pipeline.store import Home

if TYPE_CHECKING:
    from pipeline.model import Autoencoder
    from pipeline.stages import Context
    from pipeline.training import EpochRecord

MAX_RESTARTS = 2
"""How often one job may kill its worker before it counts as failed: one that exhausts the memory always would."""


@dataclass(frozen=True)
class Job:
    """One configuration to be opened on a split."""

    id: str
    config: RunConfig
    split: str
    pruned_by: tuple[str, ...] = ()
    """Objectives that a pruner wants after every epoch; the worker then waits for its answer. Empty: nobody asks."""


@dataclass(frozen=True)
class EpochDone:
    """An epoch of a job; `quick` holds the objectives asked for by `pruned_by`."""

    job: str
    epoch: int
    metrics: dict[str, float]
    quick: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class JobDone:
    """A job's outcome is in the store under `key`."""

    job: str
    key: str


@dataclass(frozen=True)
class JobStopped:
    """The pruner stopped the job; `folder` holds what it had written."""

    job: str
    folder: Path


@dataclass(frozen=True)
class JobFailed:
    """The job cannot be finished: a diverged loss, or a bug of ours with its traceback."""

    job: str
    reason: str
    details: str = ""


Event = EpochDone | JobDone | JobStopped | JobFailed


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
        """The pruner's answer to an EpochDone of a job with `pruned_by`."""
        ...

    def close(self) -> None:
        """Stop every worker now; unfinished jobs keep their checkpoints."""
        ...


class _Stopped(Exception):
    """Raised inside a worker when the pruner stops its job."""


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


def start_worker(work: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """A fresh interpreter that runs `work(connection, *arguments)`, deaf to Ctrl-C, and our end of the connection."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True, name="cvae-pipe worker")
    resource_tracker.ensure_running()  # process.start() would, and would unblock signals on the way
    # The numerical libraries read these when they are first imported, which in a fresh interpreter is later.
    with _environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"), _interrupts_blocked():
        process.start()
    theirs.close()
    return process, ours


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process started inside never hears Ctrl-C, which reaches the whole group: the driver decides what it means."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _environment:
    """Variables set for the duration of a block."""

    def __init__(self, **variables: str) -> None:
        self._new = variables

    def __enter__(self) -> None:
        self._old = {name: os.environ.get(name) for name in self._new}
        os.environ.update(self._new)

    def __exit__(self, *_: object) -> None:
        for name, value in self._old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(connection: Connection, home: Home) -> None:
    """The worker process: jobs in, events out, until the driver closes the connection or dies."""
    die_with_driver()
    from pipeline.run import set_up_process

    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        set_up_process(job.config.runtime.threads)
        connection.send(_do(job, home, connection))


def die_with_driver() -> None:
    """From now on this worker process ends at once when the process that started it does."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do(job: Job, home: Home, connection: Connection) -> Event:
    from pipeline import stages
    from pipeline.model import Autoencoder
    from pipeline.run import execute
    from pipeline.training import EpochRecord

    ctx = stages.Context(job.config, home)
    reached = Path()

    def on_epoch(record: EpochRecord, model: Autoencoder, folder: Path) -> None:
        nonlocal reached
        reached = folder
        connection.send(epoch_done(job, ctx, record, model))
        if job.pruned_by and not connection.recv():
            raise _Stopped

    try:
        return JobDone(job.id, execute(ctx, job.split, on_epoch).key)
    except _Stopped:
        return JobStopped(job.id, reached)
    except Exception as error:
        return failure(job, error)


def epoch_done(job: Job, ctx: "Context", record: "EpochRecord", model: "Autoencoder") -> EpochDone:
    """The event of an epoch, with the objectives that a pruner wants."""
    from pipeline import stages
    from pipeline.scoring import quick_scores

    quick: dict[str, float] = {}
    if job.pruned_by:
        quick = {"neg_elbo": record.metrics["val/neg_elbo"]}
        if not set(job.pruned_by) <= set(quick):
            judges, reference = stages.judge(ctx).judges, stages.reference(ctx, job.split)
            quick |= quick_scores(model, judges, reference, job.config.score)
    return EpochDone(job.id, record.epoch, record.metrics, {k: quick[k] for k in job.pruned_by})


def failure(job: Job, error: Exception) -> JobFailed:
    """Why a job has no result: one line, and for a bug of ours the traceback as well."""
    if isinstance(error, CvaePipeError):
        return JobFailed(job.id, str(error))
    said = str(error).strip().partition("\n")[0]  # the reason stands in tables; the rest is in the traceback
    trace = "".join(traceback.format_exception(error))
    return JobFailed(job.id, f"{type(error).__name__}: {said}", trace)
