"""The studies and ablations of a home, newest first: how far each is. Reads ledger and store; needs no torch."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.runs.stored import is_whole
from pipeline.stages.graph import run_key
from pipeline.store.home import Home
from sweeps.study.ablation import AblationConfig, ablate_command, begun, stored_ablations
from sweeps.study.config import stored_config
from sweeps.study.reading import COMPLETE, FAIL, PRUNED, StoredTrial, stored_studies

STATES = {COMPLETE: "complete", PRUNED: "pruned", FAIL: "failed"}


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
    space: tuple[str, ...]
    """What is searched, e.g. beta 0.1 .. 10 log."""
    best: dict[str, float]
    """The best value of each objective so far, on validation images."""
    command: str
    """What goes on with it, or makes it longer."""
    next: str
    """What that command would do; "" where there is nothing left."""


@dataclass(frozen=True)
class ListedAblation:
    """An ablation, as a line in a list."""

    name: str
    dataset: str
    setting: str
    done: int
    cells: int
    report: str
    values: tuple[float, ...]
    begun: str
    """UTC, ISO 8601; "" where it is not known."""
    command: str
    next: str


def studies(home: Home) -> list[ListedStudy]:
    """Every study, the one with the latest trial first."""
    found = []
    for name, study in stored_studies(home).items():
        trials = study.trials
        if not trials:
            continue
        ends = [when for t in trials if (when := t.ended or t.started)]
        failed = [t for t in trials if t.state == FAIL]
        config = stored_config(study)
        done = [t.values for t in trials if t.state == COMPLETE]
        found.append(
            ListedStudy(
                name,
                config.base.data.name,
                dict(Counter(STATES.get(t.state, "unfinished") for t in trials)),
                str(failed[-1].user_attrs.get("reason", "")) if failed else "",
                max(ends).isoformat(timespec="seconds") if ends else "",
                _report(home, name),
                tuple(f"{d.name} {d.describe()}" for d in config.space),
                {
                    o.name: (max if o.maximise else min)(values[i] for values in done)
                    for i, o in enumerate(config.objectives)
                    if done
                },
                f"cvae-pipe sweep --name {shlex.quote(name)} --trials {len(trials)}",
                _next(home, name, trials),
            )
        )
    return sorted(found, key=lambda study: study.last, reverse=True)


def ablations(home: Home) -> list[ListedAblation]:
    """Every ablation, the one begun last first."""
    dates = begun(home)
    return [_ablation(home, config, dates.get(name, "")) for name, config in reversed(stored_ablations(home).items())]


def _ablation(home: Home, config: AblationConfig, began: str) -> ListedAblation:
    cells = config.cells().values()
    done = sum(is_whole(home, run_key(cell, "test")) for cell in cells)
    report = _report(home, config.name)
    following = f"train {len(cells) - done} cells" if done < len(cells) else "" if report else "write its report"
    return ListedAblation(
        config.name,
        config.base.data.name,
        config.setting,
        done,
        len(cells),
        report,
        config.values,
        began,
        ablate_command(config),
        following,
    )


def _next(home: Home, name: str, trials: Sequence[StoredTrial]) -> str:
    """What a sweep that is repeated would do."""
    left = sum(not t.finished for t in trials)
    if left:
        return f"go on with {left} unfinished {'trials' if left > 1 else 'trial'}, then finals and report"
    page = home.reports / name / "report.html"
    ends = [t.ended.timestamp() for t in trials if t.ended]
    if not page.exists() or page.stat().st_mtime < max(ends, default=0):
        return "train what its finals lack, and write its report"
    return ""


def _report(home: Home, name: str) -> str:
    path = home.reports / name / "report.html"
    return str(path) if path.exists() else ""
