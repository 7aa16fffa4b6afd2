"""The studies and ablations of a home, newest first: how far each is. Reads ledger and store; needs no torch."""

from collections import Counter
from dataclasses import dataclass

from optuna.trial import TrialState

from pipeline.runs.stored import is_whole
from pipeline.stages.graph import run_key
from pipeline.store.home import Home
from sweeps.study.ablation import stored_ablations
from sweeps.study.config import stored_config
from sweeps.study.ledger import load_study, study_names

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class ListedStudy:
    """A study, as a line in a list."""

    name: str
    dataset: str
    states: dict[str, int]
    """Trials by state; the next command takes up what is unfinished."""
    failed: str
    """Why the last failed trial did; "" where none has."""
    last: str
    """When its last trial ended, or began: local time, ISO 8601; "" before the first."""
    report: str
    """"" before there is one."""


@dataclass(frozen=True)
class ListedAblation:
    """An ablation, as a line in a list."""

    name: str
    dataset: str
    setting: str
    done: int
    cells: int
    report: str


def studies(home: Home) -> list[ListedStudy]:
    """Every study, the one with the latest trial first."""
    found = []
    for name in study_names(home):
        study = load_study(home, name)
        trials = study.get_trials(deepcopy=False)
        if not trials:
            continue
        ends = [when for t in trials if (when := t.datetime_complete or t.datetime_start)]
        failed = [t for t in trials if t.state == TrialState.FAIL]
        found.append(
            ListedStudy(
                name,
                stored_config(study).base.data.name,
                dict(Counter(STATES.get(t.state, "unfinished") for t in trials)),
                str(failed[-1].user_attrs.get("reason", "")) if failed else "",
                max(ends).isoformat(timespec="seconds") if ends else "",
                _report(home, name),
            )
        )
    return sorted(found, key=lambda study: study.last, reverse=True)


def ablations(home: Home) -> list[ListedAblation]:
    """Every ablation, the one begun last first."""
    return [
        ListedAblation(
            name,
            config.base.data.name,
            config.setting,
            sum(is_whole(home, run_key(cell, "test")) for cell in config.cells().values()),
            len(config.cells()),
            _report(home, name),
        )
        for name, config in reversed(stored_ablations(home).items())
    ]


def _report(home: Home, name: str) -> str:
    path = home.reports / name / "report.html"
    return str(path) if path.exists() else ""
