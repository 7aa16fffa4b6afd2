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
from typing import TYPE_CHECKING

from pipeline.errors import CvaePipeError
from sweeps.execution.jobs import EpochDone, Job, JobFailed

if TYPE_CHECKING:
    from pipeline.models.autoencoder import Autoencoder
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


def epoch_done(job: Job, ctx: "Context", record: "EpochRecord", model: "Autoencoder") -> EpochDone:
    """The event of an epoch, with the objectives that a pruner wants."""
    from pipeline.evaluation.quick import quick_expost_scores
    from pipeline.evaluation.scoring import quick_scores
    from pipeline.stages.judge import judge
    from pipeline.stages.prepare import prepare
    from pipeline.stages.reference import reference as reference_stage

    quick: dict[str, float] = {}
    if job.pruned_by:
        config = job.config
        quick = {"neg_elbo": record.metrics["val/neg_elbo"]}
        if not set(job.pruned_by) <= set(quick):
            judged = (judge(ctx).judges, reference_stage(ctx, job.split)) if config.model.kind == "cvae" else None
            if any(name.endswith("_expost") for name in job.pruned_by):
                quick |= quick_expost_scores(
                    model, prepare(ctx), judged, config.score, config.sampling, neg_elbo=quick["neg_elbo"]
                )
            if judged and not set(job.pruned_by) <= set(quick):
                quick |= quick_scores(model, *judged, config.score)
    return EpochDone(job.id, record.epoch, record.metrics, {k: quick[k] for k in job.pruned_by})


def failure(job: Job, error: Exception) -> JobFailed:
    """Why a job has no result: one line, and for a bug of ours the traceback as well."""
    if isinstance(error, CvaePipeError):
        return JobFailed(job.id, str(error))
    said = str(error).strip().partition("\n")[0]  # the reason stands in tables; the rest is in the traceback
    trace = "".join(traceback.format_exception(error))
    return JobFailed(job.id, f"{type(error).__name__}: {said}", trace)
