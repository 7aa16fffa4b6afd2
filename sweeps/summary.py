"""What a study found: trials as a tidy table, the Pareto front, one balanced choice, best.toml, the report."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from pipeline import plots
from pipeline.catalog import show, show_spread
from pipeline.config import RunConfig
from pipeline.outcome import Outcome, load_outcome
from pipeline.report import Code, Facts, Figure, Gallery, Report, Section, Table, Text, write_report
from pipeline.run_report import (
    calibration_section,
    flags,
    grid_figure,
    per_class_section,
)
from pipeline.store import KEY_LENGTH, Home, write_atomically
from sweeps.objective import Objective, physical_range
from sweeps.space import DEFAULT_SPACE
from sweeps.study import StudyConfig, quiet_optuna

GALLERY_LIMIT = 16
CURVES_LIMIT = 60
GRID_WIDTH = 300
"""Pixels of a grid in the gallery: three side by side on a wide screen."""


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
        return {str(k): v for k, v in self.frame.set_index("number").loc[trial].to_dict().items()}

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


# ---- from study to summary -----------------------------------------------------------------------------------------


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
    return Summary(config, frame, front, chosen, outcomes, tuple(finals or ()))


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


def pareto_front(frame: pd.DataFrame, objectives: tuple[Objective, ...]) -> tuple[int, ...]:
    """Numbers of the complete trials that no other complete trial dominates: at least as good in all, better in one."""
    complete = frame[frame["state"] == "complete"]
    gains = np.array([[row[o.name] * (1 if o.maximise else -1) for o in objectives] for _, row in complete.iterrows()])
    numbers = complete["number"].tolist()
    if len(objectives) == 1:
        return (int(numbers[int(gains[:, 0].argmax())]),) if numbers else ()
    return tuple(
        int(number)
        for number, own in zip(numbers, gains, strict=True)
        if not ((gains >= own).all(1) & (gains > own).any(1)).any()
    )


def balanced(
    frame: pd.DataFrame, front: tuple[int, ...], objectives: tuple[Objective, ...], outcomes: Mapping[int, Outcome]
) -> int | None:
    """The knee: the trial of the front that is nearest to the ideal point when each axis is put on its physical range.

    Physical, not the range of this front: the choice does not move because a hopeless trial widened an axis.
    """
    if not front or not all(number in outcomes for number in front):
        return front[0] if front else None
    some = outcomes[front[0]]
    values = frame.set_index("number")[[o.name for o in objectives]].astype(float).to_dict("index")

    def distance(number: int) -> float:
        total = 0.0
        for objective in objectives:
            worst, best = physical_range(objective, some.metrics, classes=some.facts["classes"])
            total += (1 - (values[number][objective.name] - worst) / (best - worst)) ** 2
        return total**0.5

    return min(front, key=lambda number: (distance(number), number))


# ---- what is written -----------------------------------------------------------------------------------------------


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


def cells(config: StudyConfig, row: Mapping[Any, Any]) -> list[str]:
    """Params and objective values of a trial as people read them; a dash for what it does not have."""
    params = [d.show(row[d.name]) for d in config.space]
    return params + ["-" if pd.isna(row[o.name]) else show(row[o.name]) for o in config.objectives]


def _is_headline(key: str) -> bool:
    return key.partition("/")[2] in (
        "neg_elbo",
        "bce",
        "kl",
        "conditional_accuracy",
        "coverage_relative",
        "vendi_ratio",
    )


def write_sweep_report(home: Home, summary: Summary, folder: Path) -> Path:
    """report.md, report.html and trials.csv; the path of the html. From stored results only."""
    write_atomically(folder / "trials.csv", summary.frame.to_csv(index=False))
    _, html = write_report(sweep_report(summary), folder)
    return html


def sweep_report(summary: Summary) -> Report:
    """The whole report of a study."""
    config = summary.config
    sections = [
        Section("The answer", _answer(summary)),
        Section("Trade-off", _trade_off(summary)),
        Section("Images of the front", _images(summary)),
        Section("Why", _why(summary)),
        Section("Training", _curves(summary)),
    ]
    if summary.finals:
        sections += [per_class_section(summary.finals[0]), calibration_section(summary.finals[0])]
    sections += [Section("All trials", (_all_trials(summary),)), Section("Reproduce", _reproduce(summary))]
    space = ", ".join(f"{d.name} {d.describe()}" for d in config.space)
    return Report(
        title=f"Sweep {config.name}",
        subtitle=(
            f"{config.base.model.kind} on {config.base.data.dataset}, {config.base.train.epochs} epochs a trial; "
            f"searched: {space}; objectives: {', '.join(o.name for o in config.objectives)} on validation images"
        ),
        sections=tuple(sections),
    )


def _answer(summary: Summary) -> tuple[Facts | Text | Table, ...]:
    counts = summary.frame["state"].value_counts()
    states = ", ".join(f"{n} {state}" for state, n in counts.items())
    seconds = summary.frame["seconds"].sum()
    if summary.chosen is None:
        return (Text(f"No trial is complete yet ({states})."),)
    config = summary.config
    row = summary.row(summary.chosen)
    facts = [
        ("chosen", f"trial {summary.chosen}: " + ", ".join(f"{d.name} {d.show(row[d.name])}" for d in config.space)),
        *((f"val/{o.name}", show(row[o.name])) for o in config.objectives),
        ("trials", f"{states}; {seconds / 60:.1f} minutes of trial time"),
    ]
    blocks: list[Facts | Text | Table] = [Facts(tuple(facts))]
    if len(config.objectives) > 1:
        blocks.append(
            Text(
                "The choice is the trial of the Pareto front nearest to the ideal point, each axis on its physical "
                "range: accuracy from chance to the judge's own, relative coverage from 0 to that of real images, "
                "neg_elbo from a decoder that ignores z down to the entropy of the pixels."
            )
        )
    if summary.finals:
        spread = summary.final_spread()
        rows = tuple(
            (key, show_spread(mean, std), *(show(o.metrics[key]) for o in summary.finals))
            for key, (mean, std) in spread.items()
            if _is_headline(key)
        )
        seeds = tuple(f"seed {o.config.train.seed}" for o in summary.finals)
        blocks.append(
            Table(
                ("test metric", "mean ± sd", *seeds),
                rows,
                caption=(
                    f"The chosen configuration re-trained from {len(summary.finals)} seeds. Test images were opened "
                    "here for the first time; the search saw training and validation images only."
                ),
            )
        )
    return tuple(blocks)


def _front_table(summary: Summary) -> Table:
    config = summary.config
    columns = ("trial", *(d.name for d in config.space), *(o.name for o in config.objectives), "kl", "bce")
    rows = []
    for number in summary.front:
        row = summary.row(number)
        rows.append((str(number), *cells(config, row), show(row["kl"]), show(row["bce"])))
    highlight = frozenset(i for i, n in enumerate(summary.front) if n == summary.chosen)
    caption = "The Pareto front on validation images; the chosen trial stands out."
    return Table(columns, tuple(rows), caption=caption, highlight=highlight)


def _trade_off(summary: Summary) -> tuple[Table | Figure, ...]:
    if summary.chosen is None:
        return ()
    blocks: list[Table | Figure] = [_front_table(summary)]
    if len(summary.config.objectives) > 1:
        axes = [(o.name, o.label, o.direction) for o in summary.config.objectives]
        figure = plots.pareto(summary.frame, axes, set(summary.front), summary.chosen)
        caption = "every complete trial; the front is numbered, the star is the choice"
        blocks.append(Figure("pareto", figure, "Pareto front of the objectives", caption))
    return tuple(blocks)


def _images(summary: Summary) -> tuple[Gallery | Figure | Text, ...]:
    shown = [n for n in summary.front if "generated" in getattr(summary.outcomes.get(n), "grids", {})][:GALLERY_LIMIT]
    blocks: list[Gallery | Figure | Text] = []
    if shown:
        rows = {n: summary.row(n) for n in shown}
        by_first = sorted(shown, key=lambda n: rows[n][summary.config.space[0].name])
        items = tuple(
            grid_figure(
                summary.outcomes[n],
                "generated",
                caption=_grid_caption(summary, n),
                alt=f"Images generated by trial {n}, one row per class",
                width=GRID_WIDTH,
                name=f"trial-{n:03d}",
            )
            for n in by_first
        )
        blocks.append(
            Gallery(
                items,
                f"Sorted by {summary.config.space[0].name}. Rows are classes; a column is one z, the same in all.",
            )
        )
    if summary.finals:
        first = summary.finals[0]
        blocks.append(
            grid_figure(
                first,
                "reconstructed",
                "test images (upper rows) and their reconstructions by the chosen configuration (lower rows)",
                "Real test images and their reconstructions",
            )
        )
    return tuple(blocks)


def _grid_caption(summary: Summary, number: int) -> str:
    row = summary.row(number)
    mark = " (chosen)" if number == summary.chosen else ""
    params = " · ".join(f"{d.name} {row[d.name]:.3g}" for d in summary.config.space)
    values = " · ".join(f"{o.name} {row[o.name]:.3g}" for o in summary.config.objectives)
    return f"trial {number}{mark} · {params} · {values}"


def _why(summary: Summary) -> tuple[Figure | Text, ...]:
    complete = summary.frame[summary.frame["state"] == "complete"]
    if len(complete) < 4:
        return (Text("Too few complete trials to say what matters."),)
    blocks: list[Figure | Text] = []
    importance = importances(complete, summary.config)
    if importance:
        blocks.append(
            Figure(
                "importances",
                plots.importances(importance),
                "Importance of each setting for each objective",
                "share of each objective's variance explained by each setting (fANOVA)",
            )
        )
    blocks.append(
        Figure(
            "slices",
            plots.parameter_slices(
                complete,
                [(d.name, d.name.replace("_", " "), d.log) for d in summary.config.space],
                [(o.name, o.label, o.direction) for o in summary.config.objectives],
                set(summary.front),
            ),
            "Each objective against each setting",
            "every complete trial",
        )
    )
    if {"kl", "bce", "beta"} <= set(complete.columns):
        blocks.append(
            Figure(
                "rate-distortion",
                plots.rate_distortion(complete, set(summary.front), summary.chosen),
                "Rate against distortion of every trial",
                "kl (rate) against bce (distortion) on validation images",
            )
        )
    return tuple(blocks)


def importances(complete: pd.DataFrame, config: StudyConfig) -> dict[str, dict[str, float]]:
    """objective -> setting -> share of its variance explained, by fANOVA (Hutter et al. 2014)."""
    with quiet_optuna():
        study = optuna.create_study(directions=config.directions)
    names = [d.name for d in config.space]
    for _, row in complete.iterrows():
        params = {d.name: int(row[d.name]) if d.integer else float(row[d.name]) for d in config.space}
        values = [float(row[o.name]) for o in config.objectives]
        study.add_trial(optuna.trial.create_trial(params=params, distributions=config.distributions, values=values))
    found: dict[str, dict[str, float]] = {}
    for i, objective in enumerate(config.objectives):
        if complete[objective.name].nunique() < 2:
            continue  # nothing varies, so nothing is explained
        shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            target=partial(_value_at, i),
            params=names,
        )
        found[objective.name] = {name: float(share) for name, share in shares.items()}
    return found


def _value_at(index: int, trial: FrozenTrial) -> float:
    return trial.values[index]


def _curves(summary: Summary) -> tuple[Figure | Text, ...]:
    histories = {f"trial {n}": o.history for n, o in list(summary.outcomes.items())[:CURVES_LIMIT]}
    if not histories:
        return ()
    front = {f"trial {n}" for n in summary.front}
    caption = "neg_elbo on validation images by epoch; the front stands out"
    return (Figure("curves", plots.loss_curves(histories, front), "Learning curves of the trials", caption),)


def _all_trials(summary: Summary) -> Table:
    config = summary.config
    columns = (
        "trial",
        "state",
        *(d.name for d in config.space),
        *(o.name for o in config.objectives),
        "seconds",
        "why",
    )
    rows = []
    for _, row in summary.frame.iterrows():
        seconds = "-" if pd.isna(row["seconds"]) else f"{row['seconds']:.1f}"
        reason = str(row["reason"]) or "-"
        rows.append((str(row["number"]), str(row["state"]), *cells(config, row.to_dict()), seconds, reason))
    highlight = frozenset(i for i, n in enumerate(summary.frame["number"]) if n in summary.front)
    return Table(
        columns, tuple(rows), caption="The Pareto front stands out; trials.csv has every column.", highlight=highlight
    )


def sweep_command(summary: Summary) -> str:
    """The command that makes this study anew."""
    config = summary.config
    swept = {d.setting for d in config.space}
    off = [d.setting for d in DEFAULT_SPACE if d.setting not in swept]
    settings = config.base.flat()
    objectives = " ".join(f"--objective {o.name}" for o in config.objectives)
    space = " ".join(
        [
            *(f"--space {d.entry()}" for d in config.space),
            *(f"--space {name}=off --set {name}={settings[name]}" for name in off),
        ]
    )
    extra = f" --pruner {config.pruner}" if config.pruner != "none" else ""
    words = [
        f"cvae-pipe sweep --trials {summary.finished} --name {shlex.quote(config.name)}",
        flags(config.base, leave_out=frozenset({*swept, *off, "runtime.device"})),
        objectives,
        space,
        f"--sweep-seed {config.seed} --window {config.window}{extra}",
    ]
    return " ".join(words)


def _reproduce(summary: Summary) -> tuple[Code | Facts | Text, ...]:
    blocks: list[Code | Facts | Text] = [Code(sweep_command(summary), "sh")]
    outcome = next(iter((*summary.finals, *summary.outcomes.values())), None)
    if outcome is not None:
        facts = [("data SHA-256", outcome.facts["source_sha256"])]
        if "judge_sha256" in outcome.facts:
            facts.append(("judge A weights SHA-256", outcome.facts["judge_sha256"]))
        blocks.append(Facts(tuple(facts)))
    if summary.chosen is not None:
        blocks += [Text("The chosen configuration, as in best.toml:"), Code(summary.chosen_config.to_toml(), "toml")]
    return tuple(blocks)
