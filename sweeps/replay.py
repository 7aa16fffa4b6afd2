"""A trial as the tracker shows it, told afterwards: from the ledger and from what is in the store. Trains nothing."""

from typing import Any

from optuna.trial import FixedTrial, FrozenTrial, TrialState

from pipeline.experiments.record import log_epoch_grids
from pipeline.runs.outcome import epoch_grids, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.graph import TRAIN
from pipeline.stages.train import kept_history
from pipeline.tracking import TRACEBACK, Status, TrackedRun
from sweeps.record import trial_title
from sweeps.study.config import StudyConfig
from sweeps.study.ledger import DETAILS, RUNGS
from sweeps.tracked import TrackedJobs

UNSUCCESSFUL: dict[TrialState, Status] = {TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
"""How the run of a trial without a result ends."""


def record_trial(jobs: TrackedJobs, config: StudyConfig, trial: FrozenTrial) -> TrackedRun | None:
    """The run of a trial that is over, with everything that is known of it; None where there is nothing to record: it
    is not over, or its result is not in the store."""
    if trial.state == TrialState.COMPLETE:
        key = trial.user_attrs["run_key"]
        if not is_whole(jobs.ctx.home, key):
            return None
        run = open_trial(jobs, config, trial)
        if not run.finished:
            _log_rungs(run, config, trial)
            _tag_machine(run, trial)
        jobs.record(run, load_outcome(jobs.ctx.home, key), ended=_seconds(trial.datetime_complete))
        return run
    if trial.state not in UNSUCCESSFUL:
        return None
    home, facts = jobs.ctx.home, trial.user_attrs
    status, reason = UNSUCCESSFUL[trial.state], facts.get("reason", "")
    run = open_trial(jobs, config, trial, ended=None if facts.get("missed") else (status, reason))
    if run.finished:
        return run
    key = TRAIN.key(config.trial_config(trial.number, FixedTrial(trial.params)))
    folder = home.store.path("train", key)
    if not folder.exists():
        folder = home.store.partial("train", key)
    for record in kept_history(folder):
        run.log_epoch(record.epoch, record.metrics)
    _log_rungs(run, config, trial)
    _tag_machine(run, trial)
    if trial.state == TrialState.PRUNED:
        log_epoch_grids(run, epoch_grids(folder))
    elif DETAILS in facts:
        run.log_text(facts[DETAILS], TRACEBACK)
    run.close(status, reason, ended=_seconds(trial.datetime_complete))
    return run


def open_trial(
    jobs: TrackedJobs, config: StudyConfig, trial: FrozenTrial, *, ended: tuple[Status, str] | None = None
) -> TrackedRun:
    """The run of a trial, as it was when it was submitted."""
    n = trial.number
    title = trial_title(n, trial.params, config.space)
    settings = config.trial_config(n, FixedTrial(trial.params))
    began = _seconds(trial.datetime_start)
    return jobs.open_run(settings, "val", title, {"trial": str(n)}, started=began, ended=ended)


def _tag_machine(run: TrackedRun, trial: FrozenTrial) -> None:
    if cpu := trial.user_attrs.get("cpu"):
        run.set_tags({"cpu": cpu})


def _log_rungs(run: TrackedRun, config: StudyConfig, trial: FrozenTrial) -> None:
    for epoch, values in trial.user_attrs.get(RUNGS, {}).items():
        run.log_epoch(int(epoch), rung_metrics(config, values))


def rung_metrics(config: StudyConfig, values: list[float]) -> dict[str, float]:
    """A trial's values at a rung, as its run shows them: of fewer samples than the scores of a finished one."""
    return {f"rung/{o.name}": value for o, value in zip(config.objectives, values, strict=True)}


def _seconds(when: Any) -> float | None:
    """Unix seconds of Optuna's local time."""
    return when.timestamp() if when else None
