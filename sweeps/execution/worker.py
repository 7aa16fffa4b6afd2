"""Worker processes: started fresh, deaf to Ctrl-C, ended with their driver; the pulse of one, and what it says of an
epoch."""

import contextlib
import ctypes
import gc
import multiprocessing
import multiprocessing.process
import os
import select
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import CvaePipeError, StudyError
from sweeps.execution.jobs import EpochDone, Job, JobFailed

if TYPE_CHECKING:
    from pipeline.models.architecture import Architecture
    from pipeline.stages.context import Context
    from pipeline.training.state import EpochRecord


BEAT_SECONDS = 1.0
"""Between two heartbeats of a worker."""
STILL_SECONDS = 120.0
"""A worker that has not moved for so long is hung, and replaced."""
MOVED_SECONDS = 1e-4
"""Processor time that counts as moving: who waits for a lock asks for it twenty times a second, and has used more in a
few seconds; who waits for the system uses none."""
KERNELS = 128
"""Compiled kernels that a worker keeps: oneDNN compiles one for each shape and keeps 1024, some 100 KB each, and every
trial has shapes of its own; one training uses some dozens."""
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""The second is PyTorch's own in front of it."""
END_SECONDS = 10.0
"""How long a worker that was killed may take to be gone."""


@dataclass(frozen=True)
class Beat:
    """A heartbeat: how much processor time the worker's main thread has used, in seconds."""

    used: float


class Line(Protocol):
    """What a job speaks to: a pipe to the driver, or what stands for one."""

    def send(self, said: Any, /) -> None: ...

    def recv(self) -> Any: ...


class Pipe:
    """A worker's end of its connection; its heartbeat sends beside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, said: Any, /) -> None:
        with self._sending:
            self._connection.send(said)

    def recv(self) -> Any:
        return self._connection.recv()

    def beat(self) -> None:
        """Say how much processor time the main thread has used; nothing while the driver is too busy to listen."""
        with self._sending:
            if select.select([], [self._connection], [], 0)[1]:
                self._connection.send(Beat(_main_thread_seconds()))


def _main_thread_seconds() -> float:
    main = threading.main_thread().ident
    if main is None or not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time()  # of all threads: then a heartbeat itself may count as moving
    return time.clock_gettime(time.pthread_getcpuclockid(main))


class Worker:
    """A worker process as its driver sees it: what it has said, and for how long it has stood still."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process, self.connection = process, connection
        self.said: deque[Any] = deque()
        """What it has said and nobody has taken yet."""
        self.gone = False
        """Whether it has closed its end: it is done, or dead."""
        self.still = 0.0
        """Seconds that the driver has watched it stand still."""
        self._used = 0.0
        self._looked = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    @property
    def hung(self) -> bool:
        return not self.gone and self.still > STILL_SECONDS

    def send(self, what: object) -> None:
        """Give it something to do; if it is dead, that is found out when it is listened to."""
        self.still = 0.0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(what)

    def listen(self) -> None:
        """Take in what it has said, and look whether it moves."""
        now = time.monotonic()
        self.still += min(now - self._looked, BEAT_SECONDS)  # a driver that was stopped itself has not watched
        self._looked = now
        try:
            while not self.gone and self.connection.poll():
                said = self.connection.recv()
                if not isinstance(said, Beat):
                    self.said.append(said)
                elif said.used < self._used + MOVED_SECONDS:
                    continue
                else:
                    self._used = said.used
                self.still = 0.0
        except (EOFError, OSError):
            self.gone = True

    def end(self) -> int | None:
        """Stop it now, which is safe at any moment: what counts is written atomically. Its exit code.

        StudyError if the system does not end it: it waits for a file system that does not answer.
        """
        if self.gone:  # on its way out by itself, with an exit code of its own
            self.process.join(END_SECONDS)
        self.gone = True
        self.process.kill()
        self.process.join(END_SECONDS)
        self.connection.close()
        if self.process.is_alive():
            multiprocessing.process._children.discard(self.process)  # type: ignore[attr-defined]  # else waited for at exit
            raise StudyError(
                f"worker process {self.pid} cannot be ended, not even by the system: a file system does not answer; "
                "what is finished is kept, and when it answers the same command goes on"
            )
        return self.process.exitcode


def end_all(workers: Collection[Worker]) -> None:
    """Stop them all now; one that cannot be ended is left to the system."""
    for worker in workers:
        if not worker.gone:
            worker.process.kill()
    for worker in workers:
        with contextlib.suppress(StudyError):
            worker.end()


def start_worker(work: Callable[..., None], *arguments: object) -> Worker:
    """A fresh interpreter that runs `work(line, *arguments)`, deaf to Ctrl-C, with a heartbeat, ended with us."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_live, args=(theirs, work, *arguments), daemon=True, name="cvae-pipe worker")
    resource_tracker.ensure_running()  # process.start() would, and would unblock signals on the way
    # The numerical libraries read these when they are first imported, which in a fresh interpreter is later.
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with environment(**threads, **{name: str(KERNELS) for name in KERNEL_CACHES}), _interrupts_blocked():
        process.start()
    theirs.close()
    return Worker(process, ours)


def _live(connection: Connection, work: Callable[..., None], *arguments: object) -> None:
    """What every worker process runs."""
    _die_with_driver()
    line = Pipe(connection)

    def beat() -> None:
        with contextlib.suppress(OSError):  # the driver is gone, and so are we
            while True:
                time.sleep(BEAT_SECONDS)
                line.beat()

    threading.Thread(target=beat, daemon=True).start()
    work(line, *arguments)


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


def _die_with_driver() -> None:
    """From now on this worker process ends at once when the process that started it does."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def release_memory() -> None:
    """Give memory that is free to the system.

    Tensors of one job's sizes leave holes that those of the next do not fit into; the C library keeps them, and a
    worker would grow from job to job.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


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
    return JobFailed(job.id, f"{type(error).__name__}: {said}", trace, environment=of_the_machine, again=True)
