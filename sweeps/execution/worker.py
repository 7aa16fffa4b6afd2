"""Worker processes: started fresh, deaf to Ctrl-C, ended with their driver; and what one says of an epoch."""

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import CvaePipeError
from sweeps.execution.jobs import EpochDone, Job, JobFailed

if TYPE_CHECKING:
    from pipeline.models.architecture import Architecture
    from pipeline.stages.context import Context
    from pipeline.training.state import EpochRecord


def start_worker(work: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """A fresh interpreter that runs `work(connection, *arguments)`, deaf to Ctrl-C, and our end of the connection."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True, name="cvae-pipe worker")
    resource_tracker.ensure_running()  # process.start() would, and would unblock signals on the way
    # The numerical libraries read these when they are first imported, which in a fresh interpreter is later.
    with environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"), _interrupts_blocked():
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


class environment:
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


def die_with_driver() -> None:
    """From now on this worker process ends at once when the process that started it does."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Line(Protocol):
    """What a job speaks to: a pipe to the driver, or what stands for one."""

    def send(self, obj: Any, /) -> None: ...

    def recv(self) -> Any: ...


class Stopped(Exception):
    """Raised inside a worker when its job is told to stop at a rung."""


def epoch_done(job: Job, ctx: "Context", record: "EpochRecord", model: "Architecture | None") -> EpochDone:
    """The event of an epoch, scored if it is a rung's; `model` is None where only the record of that epoch is left."""
    from pipeline.stages.rung import rung

    at_rung = record.epoch in job.rungs
    values = rung(ctx, job.split, job.objectives, record, model) if at_rung else {}
    return EpochDone(job.id, record.epoch, record.metrics, values)


def failure(job: Job, error: Exception) -> JobFailed:
    """Why a job has no result: one line, and for a bug of ours the traceback as well."""
    if isinstance(error, CvaePipeError):
        return JobFailed(job.id, str(error))
    said = str(error).strip().partition("\n")[0]  # the reason stands in tables; the rest is in the traceback
    trace = "".join(traceback.format_exception(error))
    of_the_machine = isinstance(error, OSError | MemoryError)
    return JobFailed(job.id, f"{type(error).__name__}: {said}", trace, environment=of_the_machine)
