"""Jobs through an executor, each with its tracked run under one parent. Knows MLflow's facade, not Optuna.

What a sweep's trials, its finals and the cells of an ablation have in common.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from pipeline.experiments.record import log_outcome, run_spec
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.tracking import TRACEBACK, Status, TrackedRun, Tracker
from sweeps.execution.jobs import Ended, EpochDone, Event, Executor, Job, JobDone, JobFailed

OnState = Callable[[str, str], None]

CURVE_SECONDS = 2.0
"""Between two writes of the curves of what runs, at least: a request takes 10 ms of the driver, however many epochs it
holds."""
CURVE_SHARE = 0.1
"""Of the driver's time, that these writes take at most: of hundreds of trials each has its request."""


class TimeUp(Exception):
    """The time limit is reached; running jobs keep their checkpoints."""


def refuse_environment(event: JobFailed) -> None:
    """StudyError for a fault of the machine: it is no result of the job, which stays open for the same command."""
    if event.environment:
        raise StudyError(
            f"{event.job} could not go on: {event.reason}; that is no result, and nothing is lost: when it is mended "
            "the same command goes on"
        )


class Beside(Protocol):
    """Processes that train what jobs wait for."""

    def watch(self) -> None:
        """End those that hang."""
        ...


class TrackedJobs:
    """The jobs of one study: what is open, what happens to it, and how it ends if the study is interrupted."""

    def __init__(
        self,
        ctx: Context,
        tracker: Tracker,
        executor: Executor | None,
        parent: TrackedRun,
        study: str,
        deadline: float,
        beside: Sequence[Beside] = (),
        *,
        again: bool = False,
    ) -> None:
        self.ctx, self.tracker, self.parent, self.study = ctx, tracker, parent, study
        self._executor = executor
        self.deadline, self._beside = deadline, beside
        self.again = again
        """Whether finished runs are opened, too, to be recorded once more."""
        self.runs: dict[str, TrackedRun] = {}
        """What is open now, by job."""
        self._epochs: dict[str, dict[int, dict[str, float]]] = {}
        """What was heard and is not written yet: a worker tells it again where it is lost with this process."""
        self._write_at = time.monotonic() + CURVE_SECONDS

    @property
    def executor(self) -> Executor:
        assert self._executor is not None, "nothing is to be executed"  # what is only recorded needs none
        return self._executor

    def submit(self, job: Job, tags: Mapping[str, str], title: str = "") -> None:
        """Open the job's run, called `title` or else by the job's id, and give the job to a worker."""
        self.runs[job.id] = self._opened(job.config, job.split, title or job.id, tags)
        self.add_to_curve(job.id, 0, _numbers(tags))
        self.executor.submit(job)

    def open_run(
        self,
        config: RunConfig,
        split: str,
        name: str,
        tags: Mapping[str, str],
        *,
        started: float | None = None,
        ended: tuple[Status, str] | None = None,
    ) -> TrackedRun:
        """The run of a configuration under the parent; `started` and `ended` of one that is recorded afterwards."""
        run = self._opened(config, split, name, tags, started=started, ended=ended)
        if not run.finished:
            run.log_metrics(_numbers(tags))
        return run

    def _opened(
        self,
        config: RunConfig,
        split: str,
        name: str,
        tags: Mapping[str, str],
        *,
        started: float | None = None,
        ended: tuple[Status, str] | None = None,
    ) -> TrackedRun:
        ctx = replace(self.ctx, config=config)
        spec = run_spec(ctx, split, name=name, parent_id=self.parent.id, tags={"study": self.study, **tags})
        return self.tracker.open_run(replace(spec, started=started, ended=ended), reopen=self.again)

    def events(self) -> list[Event]:
        """What happened within half a second; curves are written on the way. TimeUp after the deadline."""
        if time.time() > self.deadline:
            raise TimeUp
        for processes in self._beside:
            processes.watch()
        happened = self.executor.events(timeout=0.5)
        for event in happened:
            if self.runs[event.job].finished:
                continue
            if isinstance(event, EpochDone):
                self._epochs.setdefault(event.job, {}).setdefault(event.epoch, {}).update(event.metrics)
        if time.monotonic() > self._write_at:
            self._write_curves()
        return happened

    def add_to_curve(self, job: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """More of an epoch that a job tells of; it is written with the rest of its curves."""
        if metrics and not self.runs[job].finished:
            self._epochs.setdefault(job, {}).setdefault(epoch, {}).update(metrics)

    @contextmanager
    def ending(self, event: Ended) -> Iterator[TrackedRun]:
        """The run of a job that is over, to be told the rest and closed: all of it is written at once, with what was
        heard and not written yet. From then on the job is not open any more."""
        run = self.runs[event.job]
        with run.together():
            if not run.finished:
                self._write_curve(event.job)
                if event.cpu:
                    run.set_tags({"cpu": event.cpu})
            yield run
        del self.runs[event.job]  # an interruption from here on must not close it again

    def _write_curve(self, job: str) -> None:
        if epochs := self._epochs.pop(job, None):
            self.runs[job].log_epochs(epochs)

    def _write_curves(self) -> None:
        began = time.monotonic()
        for job in list(self._epochs):
            self._write_curve(job)
        took = time.monotonic() - began
        self._write_at = began + max(CURVE_SECONDS, took / CURVE_SHARE)

    def record(self, run: TrackedRun, outcome: Outcome, *, ended: float | None = None) -> None:
        """Everything a finished job shows, and its status, as of now or of when it `ended` (Unix seconds)."""
        if not run.finished:
            log_outcome(run, outcome)
            run.close("FINISHED", ended=ended)

    def run_all(
        self, configs: Mapping[str, RunConfig], split: str, tags: Mapping[str, str], on_state: OnState
    ) -> dict[str, Outcome]:
        """Every configuration, by its name; StudyError if one fails. `on_state(name, state)` hears how they are."""
        outcomes: dict[str, Outcome] = {}
        for name, config in configs.items():
            key = run_key(config, split)
            if is_whole(self.ctx.home, key):  # no worker needs to be started for it
                outcomes[name] = load_outcome(self.ctx.home, key)
                self.record(self.open_run(config, split, name, tags), outcomes[name])
            on_state(name, "complete" if name in outcomes else "waiting")
        queue = [name for name in configs if name not in outcomes]
        while len(outcomes) < len(configs):
            while queue and self.executor.free:
                name = queue.pop(0)
                self.submit(Job(name, configs[name], split), tags)
                on_state(name, "running")
            for event in self.events():
                if isinstance(event, EpochDone):
                    on_state(event.job, f"epoch {event.epoch}")
                elif isinstance(event, JobDone):
                    outcomes[event.job] = load_outcome(self.ctx.home, event.key)
                    with self.ending(event) as run:
                        self.record(run, outcomes[event.job])
                    on_state(event.job, "complete")
                elif isinstance(event, JobFailed):
                    refuse_environment(event)
                    with self.ending(event) as run:
                        if event.details:
                            run.log_text(event.details, TRACEBACK)
                        run.close("FAILED", event.reason)
                    raise StudyError(f"{event.job} failed: {event.reason}")
        return {name: outcomes[name] for name in configs}

    def interrupt(self, reason: str) -> None:
        """Close what is open as KILLED; repeating the command continues the same runs."""
        self._write_curves()
        for run in self.runs.values():
            if not run.finished:
                run.close("KILLED", reason)


def _numbers(tags: Mapping[str, str]) -> dict[str, float]:
    """What runs are sorted by: tags sort as text."""
    return {"trial": float(tags["trial"])} if "trial" in tags else {}
