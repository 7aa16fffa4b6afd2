"""Jobs through an executor, each with its tracked run under one parent. Knows MLflow's facade, not Optuna.

What a sweep's trials, its finals and the cells of an ablation have in common.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from pipeline.experiments.record import log_outcome, run_spec
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.tracking import TRACEBACK, TrackedRun, Tracker
from sweeps.execution.jobs import EpochDone, Event, Executor, Job, JobDone, JobFailed

OnState = Callable[[str, str], None]

CURVE_SECONDS = 2.0
"""Between two writes of the curves of what runs: a request takes 10 ms of the driver, however many epochs it holds."""


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
        executor: Executor,
        parent: TrackedRun,
        study: str,
        deadline: float,
        beside: Sequence[Beside] = (),
    ) -> None:
        self.ctx, self.tracker, self.executor, self.parent, self.study = ctx, tracker, executor, parent, study
        self.deadline, self._beside = deadline, beside
        self.runs: dict[str, TrackedRun] = {}
        """What is open now, by job."""
        self._epochs: dict[str, dict[int, dict[str, float]]] = {}
        """What was heard and is not written yet: a worker tells it again where it is lost with this process."""
        self._written = time.monotonic()

    def submit(self, job: Job, tags: Mapping[str, str], title: str = "") -> None:
        """Open the job's run, called `title` or else by the job's id, and give the job to a worker."""
        self.runs[job.id] = self.open_run(job.config, job.split, title or job.id, tags)
        self.executor.submit(job)

    def open_run(self, config: RunConfig, split: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        ctx = replace(self.ctx, config=config)
        tags = {"study": self.study, **tags}
        run = self.tracker.open_run(run_spec(ctx, split, name=name, parent_id=self.parent.id, tags=tags))
        if "trial" in tags and not run.finished:
            run.log_metrics({"trial": float(tags["trial"])})  # tags sort as text
        return run

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
                self._epochs.setdefault(event.job, {})[event.epoch] = event.metrics
                continue
            self._write_curve(event.job)
            if event.cpu:
                self.runs[event.job].set_tags({"cpu": event.cpu})
        if time.monotonic() - self._written > CURVE_SECONDS:
            self._write_curves()
        return happened

    def _write_curve(self, job: str) -> None:
        if epochs := self._epochs.pop(job, None):
            self.runs[job].log_epochs(epochs)

    def _write_curves(self) -> None:
        for job in list(self._epochs):
            self._write_curve(job)
        self._written = time.monotonic()

    def record(self, run: TrackedRun, outcome: Outcome) -> None:
        """Everything a finished job shows, and its status."""
        if not run.finished:
            log_outcome(run, outcome)
            run.close("FINISHED")

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
                    self.record(self.runs[event.job], outcomes[event.job])
                    del self.runs[event.job]
                    on_state(event.job, "complete")
                elif isinstance(event, JobFailed):
                    refuse_environment(event)
                    if event.details:
                        self.runs[event.job].log_text(event.details, TRACEBACK)
                    self.runs[event.job].close("FAILED", event.reason)
                    del self.runs[event.job]
                    raise StudyError(f"{event.job} failed: {event.reason}")
        return {name: outcomes[name] for name in configs}

    def interrupt(self, reason: str) -> None:
        """Close what is open as KILLED; repeating the command continues the same runs."""
        self._write_curves()
        for run in self.runs.values():
            if not run.finished:
                run.close("KILLED", reason)
