"""What a study found: trials as a tidy table, the front, the choice, best.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from jaxtyping import Float
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from pipeline.config.settings import RunConfig
from pipeline.errors import ReportError
from pipeline.reporting.citation import Number, Source
from pipeline.runs.outcome import Outcome, epoch_grids, load_outcome
from pipeline.stages.graph import TRAIN
from pipeline.store.files import write_atomically
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from sweeps.analysis.front import balanced, pareto_front
from sweeps.study.config import StudyConfig
from sweeps.study.hypervolume import hypervolume_history
from sweeps.study.objective import physical_range


@dataclass(frozen=True)
class Summary:
    """A study as people look at it."""

    config: StudyConfig
    frame: pd.DataFrame
    """A row per trial: number, state, params, validation metrics (without their split), seconds, reason."""
    front: tuple[int, ...]
    """Numbers of the trials that no other beats in every objective; the best one where there is one objective."""
    chosen: int | None
    """The balanced trial of the front; None while no trial is complete."""
    outcomes: Mapping[int, Outcome]
    """Stored results of the complete trials."""
    finals: tuple[Outcome, ...] = ()
    """The chosen configuration trained from several seeds and opened on test."""
    last_grids: Mapping[int, tuple[int, Path]] = field(default_factory=dict)
    """Of the failed and pruned trials that drew a grid: the last epoch that did, and the grid."""
    busy_minutes: float = float("nan")
    """Time in which at least one trial ran."""

    @property
    def chosen_config(self) -> RunConfig:
        """The configuration of the choice, with the base seed: what best.toml holds."""
        assert self.chosen is not None
        params = self.row(self.chosen)
        typed = {d.name: int(params[d.name]) if d.integer else float(params[d.name]) for d in self.config.space}
        config = self.config.trial_config(self.chosen, FixedTrial(typed))
        return config.with_settings({"train.seed": self.config.base.train.seed})

    @property
    def champion(self) -> Outcome | None:
        """The choice as it is handed on: the first of its finals, the trial itself where there are none."""
        if self.finals:
            return self.finals[0]
        return None if self.chosen is None else self.outcomes.get(self.chosen)

    @property
    def finished(self) -> int:
        return int(self.frame["state"].isin(["complete", "pruned"]).sum())

    def row(self, trial: int) -> dict[str, Any]:
        found = self.frame[self.frame["number"] == trial].iloc[0].to_dict()
        return {str(k): v for k, v in found.items()}

    def quantity(self, key: str) -> float:
        """One of the study's own numbers: trials/complete, trials/minutes, trials/7/beta, front/size, .."""
        numbers = {str(number): number for number in self.frame["number"]}
        match key.split("/"):
            case ["trials", number, column] if number in numbers and column in self.frame.columns:
                return float(self.row(numbers[number])[column])
            case ["trials", "minutes"]:
                return float(self.frame["seconds"].sum()) / 60
            case ["trials", "busy_minutes"]:
                return self.busy_minutes
            case ["front", "hypervolume"] if self.outcomes:
                return hypervolume_history(gains(self, self.frame[self.frame["state"] == "complete"]))[-1]
        own = self.parent_metrics()
        if key not in own:
            raise ReportError(f"study {self.config.name} has no {key}")
        return own[key]

    def cited(self, key: str, *, form: str) -> Number:
        """One of the study's own numbers, for a report."""
        return Number(self.quantity(key), Source(key, study=self.config.name, form=form))

    def final_spread(self) -> dict[str, tuple[float, float]]:
        """Mean and sample standard deviation over the seeds of every test metric; one seed has deviation 0."""
        if not self.finals:
            return {}
        table = pd.DataFrame([outcome.metrics for outcome in self.finals])
        deviations = {str(key): float(value) for key, value in table.std(ddof=1).fillna(0.0).items()}
        return {str(key): (float(mean), deviations[str(key)]) for key, mean in table.mean().items()}

    def parent_metrics(self) -> dict[str, float]:
        """The study's own numbers for the parent run."""
        counts = {f"trials/{state!s}": float(n) for state, n in self.frame["state"].value_counts().items()}
        spread = self.final_spread()
        return {
            **counts,
            "front/size": float(len(self.front)),
            **{f"{key}_mean": mean for key, (mean, _) in spread.items()},
            **{f"{key}_std": std for key, (_, std) in spread.items()},
        }

    def document(self) -> dict[str, Any]:
        """The `--json` document, less the paths."""

        def trial(number: int) -> dict[str, Any]:
            row = self.row(number)
            return {
                "trial": number,
                "params": {d.name: row[d.name] for d in self.config.space},
                "values": {o.name: row[o.name] for o in self.config.objectives},
            }

        chosen: dict[str, Any] = {}
        if self.chosen is not None:
            chosen = trial(self.chosen) | {
                "test": {k: {"mean": mean, "std": std} for k, (mean, std) in self.final_spread().items()},
                "seeds": [outcome.config.train.seed for outcome in self.finals],
            }
        counts = {str(state): int(n) for state, n in self.frame["state"].value_counts().items()}
        return {
            "study": self.config.name,
            "finished": self.finished,
            "failed": counts.get("failed", 0),
            "pruned": counts.get("pruned", 0),
            "objectives": [o.name for o in self.config.objectives],
            "front": [trial(number) for number in self.front],
            "chosen": chosen,
        }


@dataclass(frozen=True)
class SweepResult:
    """What a sweep hands back."""

    summary: Summary
    report: Path
    best: Path | None
    run_id: str

    def document(self) -> dict[str, Any]:
        return self.summary.document() | {
            "report": str(self.report),
            "best": str(self.best) if self.best else None,
            "run_id": self.run_id,
        }


def summarise(home: Home, study: optuna.Study, config: StudyConfig, finals: list[Outcome] | None = None) -> Summary:
    """The study as it is now."""
    frame = trial_frame(study, config)
    outcomes = {
        t.number: load_outcome(home, t.user_attrs["run_key"])
        for t in study.get_trials(deepcopy=False)
        if t.state == TrialState.COMPLETE and home.store.has("run", t.user_attrs["run_key"])
    }
    front = pareto_front(frame, config.objectives)
    chosen = balanced(frame, front, config.objectives, outcomes)
    trials = study.get_trials(deepcopy=False)
    return Summary(
        config,
        frame,
        front,
        chosen,
        outcomes,
        tuple(finals or ()),
        last_grids={
            t.number: grid for t in trials if t.number not in outcomes and (grid := last_grid(home, config, t))
        },
        busy_minutes=busy_seconds(trials) / 60,
    )


def last_grid(home: Home, config: StudyConfig, trial: FrozenTrial) -> tuple[int, Path] | None:
    """The last epoch that a failed or pruned trial drew a grid after, and the grid; None if it drew none."""
    if not trial.state.is_finished():  # its folder moves to the store when it ends, which may be now
        return None
    key = TRAIN.key(config.trial_config(trial.number, FixedTrial(trial.params)))
    grids = epoch_grids(home.store.path("train", key)) or epoch_grids(home.store.partial("train", key))
    return max(grids.items(), default=None)


def busy_seconds(trials: list[FrozenTrial]) -> float:
    """Time in which at least one trial ran: what trials at one time have in common counts once, pauses not at all."""
    spans = sorted((t.datetime_start, t.datetime_complete) for t in trials if t.datetime_start and t.datetime_complete)
    total, until = 0.0, None
    for start, end in spans:
        total += max(0.0, (end - (start if until is None else max(start, until))).total_seconds())
        until = end if until is None else max(until, end)
    return total


def trial_frame(study: optuna.Study, config: StudyConfig) -> pd.DataFrame:
    """A row per trial, in order of number."""
    rows = []
    for t in study.get_trials(deepcopy=False):
        metrics = {key.partition("/")[2]: value for key, value in t.user_attrs.get("metrics", {}).items()}
        state = "failed" if t.state == TrialState.FAIL else t.state.name.lower()
        rows.append(
            {
                "number": t.number,
                "state": state,
                **t.params,
                **{o.name: float("nan") for o in config.objectives},
                **metrics,
                "seconds": t.duration.total_seconds() if t.duration else float("nan"),
                "reason": t.user_attrs.get("reason", ""),
                "run_key": t.user_attrs.get("run_key", "")[:KEY_LENGTH],
            }
        )
    columns = ["number", "state", *(d.name for d in config.space), *(o.name for o in config.objectives)]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "seconds", "reason", "run_key"])


def gains(summary: Summary, complete: pd.DataFrame) -> Float[np.ndarray, "N M"]:
    """Objective values of these trials on their physical ranges: 0 the worst, 1 the best that means something."""
    some = next(iter(summary.outcomes.values()))
    columns = []
    for objective in summary.config.objectives:
        worst, best = physical_range(objective, some.metrics, classes=some.facts["classes"])
        columns.append((complete[objective.name].to_numpy(dtype=float) - worst) / (best - worst))
    return np.column_stack(columns)


def write_best(summary: Summary, folder: Path) -> Path | None:
    """best.toml: the chosen configuration, ready for `cvae-pipe run --config`."""
    if summary.chosen is None:
        return None
    path = folder / "best.toml"
    head = (
        f"# Trial {summary.chosen} of study {summary.config.name}. Repeat it with: cvae-pipe run --config {path.name}\n"
    )
    write_atomically(path, head + summary.chosen_config.to_toml())
    return path
