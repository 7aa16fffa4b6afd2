"""What a study found: trials as a tidy table, the front, the choice, best.toml."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import takewhile
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from pipeline.config.settings import RunConfig
from pipeline.errors import DamageError, ReportError
from pipeline.reporting.cautions import cautions
from pipeline.reporting.citation import Number, Source
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.graph import run_key
from pipeline.store.files import write_atomically
from pipeline.store.home import Home
from sweeps.analysis.choice import Choice, Front, choose
from sweeps.analysis.exchange import Exchange, exchanges
from sweeps.analysis.front import pareto_front
from sweeps.analysis.trials import busy_seconds, last_grid, trial_frame
from sweeps.study.closing import Closing, recorded_closing
from sweeps.study.config import StudyConfig
from sweeps.study.hypervolume import gains, hypervolume
from sweeps.study.objective import physical_range, values
from sweeps.study.reading import COMPLETE, StoredStudy, as_stored

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Summary:
    """A study as people look at it."""

    config: StudyConfig
    frame: pd.DataFrame
    """A row per trial: number, state, params, validation metrics (without their split), seconds, reason."""
    front: tuple[int, ...]
    """Numbers of the trials that no other beats in every objective; the best one where there is one objective."""
    chosen: int | None
    """The trial of the front to go on with; None while no trial is complete."""
    outcomes: Mapping[int, Outcome]
    """Stored results of the complete trials."""
    finals: tuple[Outcome, ...] = ()
    """The chosen configuration trained from several seeds and opened on test."""
    closing: Closing = field(default_factory=Closing)
    choice: Choice | None = None
    """How `chosen` came to be chosen; None where results of the front are not in the store."""
    retrained: Mapping[int, tuple[Outcome, ...]] = field(default_factory=dict)
    """Candidate -> its configuration trained from the seeds of the finals and opened on validation, once all are."""
    last_grids: Mapping[int, tuple[int, Path]] = field(default_factory=dict)
    """Of the failed and pruned trials that drew a grid: the last epoch that did, and the grid."""
    busy_minutes: float = float("nan")
    """Time in which at least one trial ran."""

    @property
    def chosen_config(self) -> RunConfig:
        """The configuration of the choice, with the base seed: what best.toml holds."""
        assert self.chosen is not None
        return self.base_config(self.chosen)

    def base_config(self, trial: int) -> RunConfig:
        """The configuration of a trial, with the base seed."""
        config = self.config.stored_trial_config(trial, self.row(trial))
        own = self.config.base
        return config.with_settings({"train.seed": own.train.seed, "panel.judges": own.panel.judges})

    def final_configs(self, trial: int, split: str) -> list[RunConfig]:
        """The configuration of a trial under the seeds of the finals (the base seed and those after it), with the
        judges that read it on a split."""
        config = self.base_config(trial)
        seeds = [config.train.seed + i for i in range(self.closing.final_seeds)]
        judges = max(self.closing.judges_on(split), config.panel.judges)
        return [config.with_settings({"train.seed": seed, "panel.judges": judges}) for seed in seeds]

    @cached_property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """Worst and best value of every objective that mean something: facts of the data, which any result has."""
        some = next(iter(self.outcomes.values()))
        return tuple(physical_range(o, some.metrics, classes=some.facts["classes"]) for o in self.config.objectives)

    def gains(self, trials: pd.DataFrame) -> Float[np.ndarray, "N M"]:
        """Objective values of these rows of the table on their physical ranges."""
        return gains(trials[[o.name for o in self.config.objectives]].to_numpy(dtype=float), self.ranges)

    @cached_property
    def pareto(self) -> Front | None:
        """The front as the rules of the choice see it; None where a result of it is missing."""
        if not self.front or not all(number in self.outcomes for number in self.front):
            return None
        objectives = self.config.objectives
        rows = self.frame.set_index("number").loc[list(self.front), [o.name for o in objectives]]
        return Front(self.front, rows.to_numpy(dtype=float), objectives, self.ranges, self.closing.preferences)

    @property
    def kind_of_choice(self) -> str:
        """The choice in a word: best where there is one objective, preferred where bounds decided, or balanced."""
        if len(self.config.objectives) == 1:
            return "best"
        return "preferred" if self.pareto is not None and self.pareto.preferred else "balanced"

    @cached_property
    def exchanges(self) -> dict[str, Exchange]:
        """What the other objectives are worth in nats around the choice, by name."""
        front = self.pareto
        if front is None or self.chosen is None:
            return {}
        return {exchange.objective.name: exchange for exchange in exchanges(front, self.chosen)}

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
        found = self.frame.iloc[self._places[str(trial)]].to_dict()
        return {str(k): v for k, v in found.items()}

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each trial stands in the table, by its number as text."""
        return {str(number): place for place, number in enumerate(self.frame["number"])}

    def quantity(self, key: str) -> float:
        """One of the study's own numbers: trials/complete, trials/minutes, trials/7/beta, front/size, .."""
        match key.split("/"):
            case ["trials", number, column] if number in self._places and column in self.frame.columns:
                return float(self.frame[column].iloc[self._places[number]])
            case ["trials", "minutes"]:
                return float(self.frame["seconds"].sum()) / 60
            case ["trials", "busy_minutes"]:
                return self.busy_minutes
            case ["front", "hypervolume"] if self.outcomes:
                return hypervolume(self.gains(self.frame[self.frame["number"].isin(self.front)]))
            case ["choice", "noise"] if self.choice:
                return self.choice.noise
            case ["choice", number, "score"] if self.choice and number in map(str, self.choice.scores):
                return self.choice.scores[int(number)]
            case ["exchange", name, way] if (found := self.exchanges.get(name)) and way in found.prices:
                return found.prices[way]
        own = self.parent_metrics()
        if key not in own:
            raise ReportError(f"study {self.config.name} has no {key}")
        return own[key]

    def cited(self, key: str, *, form: str) -> Number:
        """One of the study's own numbers, for a report."""
        return Number(self.quantity(key), Source(key, study=self.config.name, form=form))

    def final_spread(self) -> dict[str, tuple[float, float | None]]:
        """Mean and sample standard deviation over the seeds of every test metric; one seed has no deviation."""
        return spread_of(self.finals)

    def parent_metrics(self) -> dict[str, float]:
        """The study's own numbers for the parent run."""
        counts = {f"trials/{state!s}": float(n) for state, n in self.frame["state"].value_counts().items()}
        spread = self.final_spread()
        return {
            **counts,
            "front/size": float(len(self.front)),
            **{f"{key}_mean": mean for key, (mean, _) in spread.items()},
            **{f"{key}_std": std for key, (_, std) in spread.items() if std is not None},
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
                "test": _named(self.final_spread()),
                "seeds": [outcome.config.train.seed for outcome in self.finals],
                "cautions": [str(sentence) for sentence in cautions(self.champion)] if self.champion else [],
                **self._how_chosen(),
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

    def _how_chosen(self) -> dict[str, Any]:
        """The part of the document that says why the chosen trial is the chosen one."""
        front, choice = self.pareto, self.choice
        if front is None or choice is None:
            return {}
        return {
            "rules": front.named(),
            "preferences": [str(p) for p in self.closing.preferences],
            "preferences_met": front.preferred,
            "noise": None if isnan(choice.noise) else choice.noise,
            "judges_alone": list(choice.by_judge),
            "candidates": [
                {"trial": n, "score": choice.scores.get(n), "val": _named(spread_of(self.retrained.get(n, ())))}
                for n in choice.candidates
            ],
            "exchange": {name: {"step": e.step, "nats": e.prices} for name, e in self.exchanges.items()},
        }


def _named(spread: Mapping[str, tuple[float, float | None]]) -> dict[str, dict[str, float]]:
    return {
        key: {"mean": mean} | ({} if deviation is None else {"std": deviation})
        for key, (mean, deviation) in spread.items()
    }


def spread_of(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float | None]]:
    """Mean and sample standard deviation of every metric over runs; one run has no deviation."""
    table = pd.DataFrame([outcome.metrics for outcome in outcomes])
    return {
        str(key): (float(column.mean()), float(column.std(ddof=1)) if len(column) > 1 else None)
        for key, column in table.items()
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


def summarise(home: Home, ledger: "StoredStudy | optuna.Study", config: StudyConfig) -> Summary:
    """The study as it is now: a function of ledger and store."""
    study = as_stored(ledger)
    frame, trials = trial_frame(study, config), study.trials
    stored = {t.number: _whole(home, t.user_attrs["run_key"]) for t in trials if t.state == COMPLETE}
    outcomes = {number: outcome for number, outcome in stored.items() if outcome is not None}
    front = pareto_front(frame, config.objectives)
    summary = Summary(
        config,
        frame,
        front,
        front[0] if front else None,
        outcomes,
        closing=recorded_closing(study, config.objectives),
        last_grids={
            t.number: grid for t in trials if t.number not in outcomes and (grid := last_grid(home, config, t))
        },
        busy_minutes=busy_seconds(trials) / 60,
    )
    return with_choice(summary, home)


def _whole(home: Home, key: str) -> Outcome | None:
    """A stored run; None where it is not there, or not as it was written."""
    try:
        return load_outcome(home, key)
    except DamageError:
        return None


def with_choice(summary: Summary, home: Home) -> Summary:
    """The summary with its choice, as far as the re-trainings in the store can tell, and with these."""
    front, seeds = summary.pareto, summary.closing.final_seeds
    if front is None:
        return summary

    @cache
    def on_validation(trial: int) -> tuple[Outcome, ...]:
        found = stored_runs(home, summary.final_configs(trial, "val"), "val")
        return found if len(found) == seeds else ()

    def retrained(trial: int) -> Float[np.ndarray, "J S M"] | None:
        found = on_validation(trial)
        if not found:
            return None
        judges = range(1, found[0].config.panel.judges + 1)
        return np.array([[values(front.objectives, o.metrics, judge=j) for o in found] for j in judges])

    choice = choose(front, retrained, seeds=seeds)
    return replace(
        summary,
        chosen=choice.trial,
        choice=choice,
        retrained={n: found for n in choice.candidates if (found := on_validation(n))},
        finals=stored_runs(home, summary.final_configs(choice.trial, "test"), "test") if choice.settled else (),
    )


def stored_runs(home: Home, configs: list[RunConfig], split: str) -> tuple[Outcome, ...]:
    """The leading ones of these configurations whose run on a split is in the store."""
    keys = [run_key(config, split) for config in configs]
    return tuple(load_outcome(home, key) for key in takewhile(lambda key: is_whole(home, key), keys))


def write_best(summary: Summary, folder: Path) -> Path | None:
    """best.toml: the chosen configuration, ready for `cvae-pipe run --config`."""
    if summary.chosen is None:
        return None
    path = folder / "best.toml"
    here = shlex.quote(f"{folder.parent.name}/{folder.name}/{path.name}")
    head = (
        f"# Trial {summary.chosen} of study {summary.config.name}. Repeat it, in the folder of the home, with:\n"
        f"#     cvae-pipe run --config {here}\n"
    )
    if len(summary.retrained) > 1:
        candidates = ", ".join(map(str, summary.retrained))
        head += f"# Chosen among trials {candidates}, on validation means over {summary.closing.final_seeds} seeds.\n"
    write_atomically(path, head + summary.chosen_config.to_toml())
    return path
