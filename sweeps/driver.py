"""Drives a sweep: hands trials to an executor, writes their results into ledger and tracker, has the choice made.

The driver is the only process that speaks to Optuna and MLflow. Killed at any moment and started again, it adopts the
trials it finds running: same params, same MLflow run, same checkpoint.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import StudyError
from pipeline.evaluation.reference import images_per_class
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.experiments.record import closing as closing_run
from pipeline.experiments.record import data_info, log_epoch_grids
from pipeline.experiments.run import prerequisites
from pipeline.runs.execute import set_up_process
from pipeline.runs.outcome import epoch_grids, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.context import Context
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare, result_facts
from pipeline.store.home import Home
from pipeline.tracking import TRACEBACK, RunSpec, Tracker
from sweeps.analysis.summary import Summary, SweepResult, summarise, write_best
from sweeps.execution.jobs import Ended, EpochDone, Event, Executor, Job, JobDone, JobStopped
from sweeps.finals import retrain
from sweeps.finished import LEFT, as_left
from sweeps.judges import JudgesBeside, PanelBeside
from sweeps.progress import OnUpdate, SweepView, TrialView
from sweeps.record import project, trial_title
from sweeps.replay import record_trial, rung_metrics
from sweeps.reporting.study import write_sweep_report
from sweeps.rungs import Rungs
from sweeps.study.closing import Closing
from sweeps.study.config import StudyConfig, check_amounts, study_key
from sweeps.study.ledger import AGAIN, DETAILS, FINISHED, RUNGS, Ledger, may_go_through
from sweeps.study.objective import values
from sweeps.study.proposals import Proposals
from sweeps.study.storage import writable
from sweeps.tracked import TimeUp, TrackedJobs, refuse_environment

log = logging.getLogger("cvae-pipe")

INTERRUPTED = "interrupted; repeat the command to go on"


class _Sweep:
    """One invocation of a sweep."""

    def __init__(
        self, ledger: Ledger, jobs: TrackedJobs, judges: JudgesBeside, view: SweepView, on_update: OnUpdate
    ) -> None:
        self.ledger, self.config = ledger, ledger.config
        self.jobs, self.home = jobs, jobs.ctx.home
        self.judges, self.view, self.on_update = judges, view, on_update
        self.rungs = Rungs(jobs.ctx, ledger)

    # ---- the search ------------------------------------------------------------------------------------------------

    def search(self) -> None:
        """Ask, run and tell until `view.target` trials are finished."""
        proposals = Proposals(self.config)
        results = _Results({t.number: t for t in self.ledger.trials if t.state.is_finished()})
        for trial in self.ledger.trials:
            proposals.replay(trial.number, trial.params, results.trials)
        waiting = [t for t in self.ledger.trials if t.state == TrialState.RUNNING]  # of a driver that was killed
        waiting.sort(key=lambda t: (t.number not in self.ledger.reopened, t.number))
        running: dict[str, FrozenTrial] = {}
        again = self.ledger.reopened
        while results.finished < self.view.target or not again.issubset(results.trials):
            self._refuse_hopeless(results)
            while self.jobs.executor.free and (
                results.finished + len(running) < self.view.target or (waiting and waiting[0].number in again)
            ):
                following = waiting.pop(0) if waiting else self._next(proposals, results)
                if following is None:
                    break
                running[self._submit(following)] = following
            self._hear_judges()
            for event in self.jobs.events():
                ended = self._handle(event, running[event.job])
                if ended is not None:
                    del running[event.job]
                    results.add(ended)

    def _hear_judges(self) -> None:
        """Show how the judges are; once they are there, hold them against their gates, which ends a sweep in time."""
        if self.judges.done:
            return
        if self.judges.poll():
            judge(replace(self.jobs.ctx, say=lambda text: None))
        self.view.judges = dict(self.judges.progress)
        self.on_update(self.view)

    def _next(self, proposals: Proposals, results: "_Results") -> FrozenTrial | None:
        params = proposals.propose(len(self.ledger), results.trials)
        return None if params is None else self.ledger.begin(params)

    def _refuse_hopeless(self, results: "_Results") -> None:
        failed = results.failed
        if len(failed) >= max(self.config.window, self.view.target):
            reason = failed[-1].user_attrs.get("reason", "unknown")
            hint = "; once that is mended, --retry-failed trains them again" if may_go_through(failed[-1]) else ""
            raise StudyError(
                f"{len(failed)} trials of study {self.config.name} have failed, the last because: {reason}{hint}"
            )

    def _submit(self, trial: FrozenTrial) -> str:
        n = trial.number
        config = self.config.trial_config(n, _fixed(trial))
        rungs = tuple(epoch for epoch in self.config.rungs if epoch < config.train.epochs)
        job = Job(_trial_name(n), config, "val", rungs, tuple(o.name for o in self.config.objectives))
        self.view.trials[n] = TrialView(n, dict(trial.params))
        self.jobs.submit(job, {"trial": str(n)}, trial_title(n, trial.params, self.config.space))
        self.on_update(self.view)
        return job.id

    def _handle(self, event: Event, trial: FrozenTrial) -> FrozenTrial | None:
        """Write an event of a trial into the ledgers; the trial, if it is over."""
        view = self.view.trials[trial.number]
        self.view.doing = ""
        ended = None
        if isinstance(event, EpochDone):
            view.epoch = event.epoch
            if event.rung:
                self.jobs.executor.answer(event.job, self.rungs.goes_on(trial, event.epoch, event.rung))
                self._tell_rungs(event.job, trial)
        else:
            self._tell_rungs(event.job, trial)  # those of before a driver was killed
            ended = self._finish_trial(event, trial, view)
            self.view.first_finished = self.view.first_finished or time.time()
        self.on_update(self.view)
        return ended

    def _tell_rungs(self, job: str, trial: FrozenTrial) -> None:
        for epoch, worth in self.rungs.passed(trial).items():
            self.jobs.add_to_curve(job, int(epoch), rung_metrics(self.config, worth))

    def _finish_trial(self, event: Ended, trial: FrozenTrial, view: TrialView) -> FrozenTrial:
        """MLflow first, then Optuna: a crash between the two repeats the first, which adds nothing twice."""
        facts: dict[str, Any] = {"cpu": event.cpu} if event.cpu else {}
        if isinstance(event, JobDone):
            outcome = load_outcome(self.home, event.key)
            with self.jobs.ending(event) as run:
                self.jobs.record(run, outcome)
            view.state, view.values = "complete", values(self.config.objectives, outcome.metrics)
            facts |= {"run_key": event.key, "run_id": run.id, "metrics": outcome.metrics}
            return self.ledger.tell(trial, view.values, **facts)
        if isinstance(event, JobStopped):
            reason = self.config.stopped_at(view.epoch)
            with self.jobs.ending(event) as run:
                log_epoch_grids(run, epoch_grids(event.folder))
                run.close("KILLED", reason)
            view.state, view.note, state = "pruned", reason, TrialState.PRUNED
        else:
            refuse_environment(event)
            reason = event.reason
            with self.jobs.ending(event) as run:
                if event.details:
                    run.log_text(event.details, TRACEBACK)
                    facts[DETAILS] = event.details
                run.close("FAILED", reason)
            view.state, view.note, state = "failed", reason, TrialState.FAIL
            facts[AGAIN] = event.again
        facts |= {"run_id": run.id, "reason": reason, "missed": run.incomplete}
        return self.ledger.tell(trial, state=state, **facts)

    def heal(self) -> None:
        """Train anew what a complete trial lacks, its result removed or damaged: the same numbers, since they are a
        function of its settings."""
        missing = {
            _trial_name(t.number): self.config.trial_config(t.number, _fixed(t))
            for t in self.ledger.trials
            if t.state == TrialState.COMPLETE and not is_whole(self.home, t.user_attrs["run_key"])
        }
        if missing:
            log.warning("%d trials have no whole result in the store any more; they are trained anew", len(missing))
            self.jobs.run_all(missing, "val", {}, self.final_state)

    # ---- after it, and before -------------------------------------------------------------------------------------

    def final_state(self, name: str, state: str) -> None:
        self.view.finals[name] = state
        self.on_update(self.view)

    def replay_missed(self) -> None:
        """Bring to MLflow what an outage, or the death of a driver, kept from it."""
        # What goes on is opened again; what does not, say a final of an earlier choice, must not stay RUNNING.
        self.jobs.tracker.mark_interrupted(parent_id=self.jobs.parent.id, reason=INTERRUPTED)
        for trial in self.ledger.trials:
            if trial.state == TrialState.COMPLETE or trial.user_attrs.get("missed"):
                record_trial(self.jobs, self.config, trial)


@dataclass
class _Results:
    """The trials that are over, counted as they come."""

    trials: dict[int, FrozenTrial]

    def __post_init__(self) -> None:
        self.failed = [t for t in self.trials.values() if t.state == TrialState.FAIL]
        self.finished = sum(t.state in FINISHED for t in self.trials.values())

    def add(self, trial: FrozenTrial) -> None:
        self.trials[trial.number] = trial
        if trial.state == TrialState.FAIL:
            self.failed.append(trial)
        self.finished += trial.state in FINISHED


def _trial_name(number: int) -> str:
    return f"trial {number:02d}"


def _fixed(trial: FrozenTrial) -> Any:
    from optuna.trial import FixedTrial

    return FixedTrial(trial.params)


def sweep(
    ctx: Context,
    config: StudyConfig,
    *,
    trials: int,
    closing: Closing,
    connect: Callable[[], Tracker],
    make_executor: Callable[[Home], Executor],
    workers: int,
    timeout: float | None = None,
    retry_failed: bool = False,
    on_update: OnUpdate = lambda view: None,
) -> SweepResult:
    """`trials` finished trials in all, then the candidates re-trained and the choice opened on test, then the report.

    Repeating the call does what is left of it. `timeout` is in seconds; when it is up, what is finished is reported.
    `retry_failed` trains trials again that failed through no fault of their settings, under their old numbers.
    """
    check_amounts(config, trials=trials, workers=workers, timeout=timeout)
    deadline = time.time() + timeout if timeout is not None else float("inf")
    set_up_process(config.base.runtime.threads)
    ledger = Ledger(ctx.home, config, retry_failed=retry_failed)
    try:
        tracker = connect()  # before the judges are trained, which takes minutes: a server away is known at once
        prerequisites(ctx, ())
        check_sizes(ctx, config)
        judges = JudgesBeside(ctx)
        opened = ("val", "test") if closing.final_seeds else ("val",)
        several = max(closing.judges, config.base.panel.judges) if closing.final_seeds else 1
        panel = PanelBeside(config.base.with_settings({"panel.judges": several}), ctx.home)
        executor = make_executor(ctx.home)
        try:
            if judges.done:
                prerequisites(ctx, opened)
            with writable(ctx.home):
                closing.record(ledger.study)
            view = first_view(ledger, trials, workers)
            parent = tracker.open_run(parent_spec(ctx, config), reopen=True)
            jobs = TrackedJobs(ctx, tracker, executor, parent, config.name, deadline, (judges, panel))
            this = _Sweep(ledger, jobs, judges, view, on_update)
            with closing_run(parent) as ending, writable(ctx.home):
                this.replay_missed()
                view.doing = f"starting {workers} worker{'s' if workers > 1 else ''}" if view.missing else ""
                on_update(view)
                try:
                    this.heal()
                    this.search()
                    retrain(jobs, ledger, this.final_state)
                except TimeUp:
                    ending.unfinished = "the sweep's time limit was reached; repeat the command to go on"
                    jobs.interrupt(ending.unfinished)
                except BaseException:
                    jobs.interrupt(INTERRUPTED)
                    raise
                if this.view.finished:
                    view.doing = "drawing and writing the report"
                    on_update(view)
                result = finish(jobs, ledger) if this.view.finished else None
            if result is not None and not ending.unfinished:
                ledger.study.set_user_attr(LEFT, as_left(result.summary, result))
        finally:
            judges.close()
            panel.close()
            executor.close()
    finally:
        ledger.close()
    if result is None:
        raise StudyError("the time limit was reached before any trial was finished; repeat the command to go on")
    return result


def check_sizes(ctx: Context, config: StudyConfig) -> None:
    """Whether every objective has a score: coverage and diversity need some images of every class."""
    n = images_per_class(prepare(ctx), config.base.score.per_class)
    sized = [o.name for o in config.objectives if o.name.startswith(("coverage", "vendi"))]
    if sized and n < FEWEST_IMAGES:
        raise StudyError(
            f"objective {sized[0]} needs {FEWEST_IMAGES} images of every class in every split, and score.per_class as "
            f"large; here it is {n}; choose other objectives with --objective, or more images"
        )


def parent_spec(ctx: Context, config: StudyConfig) -> RunSpec:
    """The study itself as a run: the parent of its trials."""
    return RunSpec(
        name=config.name,
        key=study_key(config.name),
        params=config.spec(),
        tags={
            "kind": "study",
            "study": config.name,
            "dataset": config.base.data.name,
            "model": config.base.model.kind,
        },
        dataset=data_info(ctx.config, result_facts(ctx)),
    )


def first_view(ledger: Ledger, target: int, workers: int) -> SweepView:
    """The live table before anything is done: what earlier invocations left."""
    view = SweepView(ledger.config, target, workers=workers)
    for trial in ledger.trials:
        if trial.state.is_finished():
            values_ = trial.values if trial.state == TrialState.COMPLETE else None
            note = trial.user_attrs.get("reason", "")
            state = {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())
            epoch = max(map(int, trial.user_attrs.get(RUNGS, {})), default=0)
            view.trials[trial.number] = TrialView(trial.number, trial.params, state, epoch, values_, note)
    view.finished_before = view.finished
    return view


def finish(jobs: TrackedJobs, ledger: Ledger) -> SweepResult:
    """best.toml, the report, and what the tracker shows of the study."""
    home = jobs.ctx.home
    cpus = Counter(t.user_attrs["cpu"] for t in ledger.trials if "cpu" in t.user_attrs)
    if len(cpus) > 1:
        kinds = ", ".join(f"{count} on {cpu}" for cpu, count in cpus.most_common())
        log.warning("trials ran on %d kinds of CPU (%s); last bits may differ between them", len(cpus), kinds)
    summary = summarise(home, ledger.study, ledger.config)
    folder = home.reports / ledger.config.name
    folder.mkdir(parents=True, exist_ok=True)
    best = write_best(summary, folder)
    report = write_sweep_report(home, summary, folder)
    record_study(jobs, summary)
    return SweepResult(summary, report, best, jobs.parent.id)


def record_study(jobs: TrackedJobs, summary: Summary) -> None:
    """What the tracker shows of a study whose report is written: the projection, the study's numbers, the files."""
    folder, parent = jobs.ctx.home.reports / summary.config.name, jobs.parent
    project(jobs, summary)
    parent.log_metrics(summary.parent_metrics())
    for name in ("report.html", "report.md", "trials.csv", "best.toml"):
        if (folder / name).exists():
            parent.log_file(folder / name)
