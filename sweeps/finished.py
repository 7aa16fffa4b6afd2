"""Whether there is nothing left to do for a study: trials, finals, report, tracker. Loads no torch, no MLflow,
no Optuna.

The driver notes in the ledger how it left a study; here that note is held against what is there.
"""

from typing import Any

from pipeline.errors import CvaePipeError
from pipeline.runs.stored import is_whole
from pipeline.store.files import sha256
from pipeline.store.home import Home
from pipeline.tracking.looking import all_finished, finished_run
from sweeps.analysis.summary import Summary, SweepResult, summarise
from sweeps.study.closing import Closing, recorded_closing
from sweeps.study.config import StudyConfig, stored_config, study_key
from sweeps.study.reading import COMPLETE, FINISHED, stored_studies

LEFT = "left"
"""Of a study: how it was when its report was written."""


def as_left(summary: Summary, result: SweepResult) -> dict[str, Any]:
    """What the ledger remembers of a study that was left with nothing to do."""
    return {"trials": len(summary.frame), "report": sha256(result.report)}


def finished(home: Home, config: StudyConfig, *, trials: int, closing: Closing, experiment: str) -> SweepResult | None:
    """The study, if `trials` are finished, the choice is made and opened as `closing` asks, and it is reported and
    recorded; else None."""
    study = stored_studies(home).get(config.name)
    if study is None:
        return None
    held, all_trials = study.user_attrs.get(LEFT), study.trials
    if held is None or held["trials"] != len(all_trials):
        return None
    if stored_config(study).spec() != config.spec():  # another study of that name: the ledger refuses it
        return None
    if sum(t.state in FINISHED for t in all_trials) < trials or not all(t.finished for t in all_trials):
        return None
    if recorded_closing(study, config.objectives) != closing or any(t.user_attrs.get("missed") for t in all_trials):
        return None
    folder = home.reports / config.name
    report, best = folder / "report.html", folder / "best.toml"
    if not (report.exists() and best.exists()) or sha256(report) != held["report"]:
        return None
    run_id = finished_run(home, experiment, study_key(config.name))
    complete = [t for t in all_trials if t.state == COMPLETE]
    if not run_id or not all_finished(home, [t.user_attrs["run_id"] for t in complete]):
        return None
    if not all(is_whole(home, t.user_attrs["run_key"]) for t in complete):
        return None
    try:
        summary = summarise(home, study, config)
    except CvaePipeError:  # the slow way says what is wrong, and mends it
        return None
    settled = summary.choice is None or summary.choice.settled
    if not settled or len(summary.finals) < closing.final_seeds:
        return None
    return SweepResult(summary, report, best, run_id)
