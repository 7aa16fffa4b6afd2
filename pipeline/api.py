"""The door for programs and notebooks: what the commands do, as functions that return values and print nothing.

    config = configure("digits", beta=2.0, epochs=20)
    result = run(config)                       # trained, scored, recorded, reported; .metrics, .history, .model
    found = sweep(study(config), trials=16)    # .trials is a DataFrame; .front, .choice
    images = samples(result, label=3, n=8)     # (8, H, W) in [0, 1]

Mistakes are exceptions of `pipeline.errors`. Everything is kept below a `Home` (by default the one that the commands
use: $CVAE_PIPE_HOME or the current directory), so that a repeated call finds what is there. Importing this module is
cheap; the libraries come with the first call.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.flags import DAILY
from pipeline.config.reading import build_config
from pipeline.config.sections import JUDGES
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from pipeline.store.home import Home

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from pipeline.experiments.baselines import Baseline
    from pipeline.models.architecture import Architecture
    from pipeline.models.priors import Prior
    from pipeline.runs.outcome import Outcome
    from pipeline.stages.context import Context
    from pipeline.tracking import MlflowTracker
    from sweeps.analysis.summary import Summary
    from sweeps.analysis.trends import Ablation
    from sweeps.progress import SweepView
    from sweeps.study.ablation import AblationConfig
    from sweeps.study.config import StudyConfig
    from sweeps.sync import Synced

EXPERIMENT = "cvae-pipe"
"""MLflow's experiment, unless another is named."""

Say = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]
"""Called with (what, done, total, note) during long work."""


def _silent(*_: object) -> None:
    """Hears everything and says nothing."""


# ---- runs ----------------------------------------------------------------------------------------------------------


def configure(dataset: str = "mnist", settings: Mapping[str, Any] | None = None, **daily: Any) -> RunConfig:
    """A configuration: the data set's defaults, then `daily` settings by the names of their flags (beta, latent_dim,
    lr, epochs, ..), then `settings` by their full names ("judge.epochs"). ConfigError for what does not exist."""
    names = {flag.option.removeprefix("--").replace("-", "_"): flag.setting for flag in DAILY}
    unknown = sorted(daily.keys() - names.keys())
    if unknown:
        raise ConfigError(
            f"unknown setting {unknown[0]}; there are {', '.join(names)}, and settings={{...}} for others"
        )
    flags = {names[name]: value for name, value in daily.items()} | dict(settings or {})
    return build_config(flags={"data.dataset": dataset} | flags)


@dataclass(frozen=True)
class Run:
    """A finished run, opened on a split."""

    outcome: "Outcome"
    home: Home
    run_id: str = ""
    """MLflow's id, where the run was recorded by this call."""

    @property
    def name(self) -> str:
        return self.outcome.name

    @property
    def config(self) -> RunConfig:
        return self.outcome.config

    @property
    def metrics(self) -> dict[str, float]:
        """Every number under its key, <split>/<name>."""
        return self.outcome.metrics

    @property
    def history(self) -> "pd.DataFrame":
        """A row per epoch: epoch, train/loss, val/neg_elbo, .."""
        import pandas as pd

        return pd.DataFrame(self.outcome.history)

    @property
    def report(self) -> Path:
        """The html report."""
        from pipeline.reporting.run import run_report_path

        return run_report_path(self.outcome, self.home)

    def document(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        from pipeline.experiments.run import RunResult

        return RunResult(self.outcome, self.run_id, self.report).summary()

    @cached_property
    def model(self) -> "Architecture":
        """The trained model, in eval mode; ConfigError if its weights are no longer in the store."""
        from pipeline.stages.context import Context
        from pipeline.stages.graph import TRAIN
        from pipeline.stages.train import train

        if not self.home.store.has(TRAIN.name, TRAIN.key(self.config)):
            raise ConfigError(f"the weights of {self.name} are not in the store; run the same configuration again")
        return train(Context(self.config, self.home)).model

    @cached_property
    def prior(self) -> "Prior":
        """What z is drawn from: the prior that the run is scored under."""
        from pipeline.models.priors import STANDARD
        from pipeline.stages.context import Context
        from pipeline.stages.graph import PRIOR
        from pipeline.stages.prior import fitted_prior

        if not PRIOR.when(self.config, self.outcome.split):
            return STANDARD
        if not self.home.store.has(PRIOR.name, PRIOR.key(self.config)):
            raise ConfigError(f"the prior of {self.name} is not in the store; run the same configuration again")
        return fitted_prior(Context(self.config, self.home)).density


def run(
    config: RunConfig,
    *,
    home: Home | None = None,
    experiment: str | None = None,
    force: bool = False,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """All stages for one configuration, opened on test, recorded in MLflow, with a report.

    What is up to date is not done again; an interrupted call goes on when it is repeated. `force` does all but the
    data set's own stages anew.
    """
    from pipeline.experiments import run as experiments
    from pipeline.stages.graph import STAGES

    ctx = open_context(config, home, say=say, progress=progress)
    ctx.force.update(s.name for s in STAGES if force and not s.shared)
    result = experiments.run(ctx, lambda: connect(ctx.home, experiment, say=say))
    return Run(result.outcome, ctx.home, result.run_id)


def baselines(
    config: RunConfig,
    *,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
) -> "list[Baseline]":
    """ae, vae and cvae trained under one configuration, and the MLP classifier beside them; a row each."""
    from pipeline.experiments.baselines import baselines as train_all

    ctx = open_context(config, home, say=say, progress=progress)
    return train_all(ctx, lambda: connect(ctx.home, experiment, say=say))


def load_run(name: str, *, home: Home | None = None) -> Run:
    """A finished run by its name or key, or the beginning of one; ConfigError with the candidates otherwise."""
    from pipeline.runs.outcome import find_run

    home = home or Home.from_environment()
    return Run(find_run(home, name), home)


def samples(run: Run, label: int | str, n: int, *, seed: int = 0) -> "np.ndarray[tuple[int, ...], Any]":
    """`n` images of a class (its index or name): Bernoulli means in [0, 1], (n, H, W) float32.

    z is drawn from the prior that the run is scored under, by noise that depends on `seed` alone: the same for every
    class and model. ConfigError for a label there is none of.
    """
    import torch

    from pipeline.models.sampling import decode_means, draw_z, fixed_noise

    classes = _class_names(run)
    if label in classes:
        label = classes.index(str(label))
    if not (isinstance(label, int) and 0 <= label < len(classes)):
        raise ConfigError(f"label is {label!r}; it must be 0 to {len(classes) - 1}, or one of {', '.join(classes)}")
    y = torch.full((n,), label)
    z = draw_z(y, fixed_noise(n, run.model.latent_dim, seed=seed), run.prior, seed=seed)
    height, width = run.outcome.facts["shape"]
    return decode_means(run.model, z, y).view(n, height, width).cpu().numpy()


def _class_names(run: Run) -> list[str]:
    table = run.outcome.per_class
    return (
        [str(name) for name in table["table"]["class"]] if table else [*map(str, range(run.outcome.facts["classes"]))]
    )


# ---- studies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """What a study has found so far."""

    summary: "Summary"
    report: Path
    """The html report."""
    best: Path | None = None
    """best.toml: the choice, ready for `cvae-pipe run --config`."""
    run_id: str = ""
    """MLflow's id, where the study was driven by this call."""

    @property
    def trials(self) -> "pd.DataFrame":
        """A row per trial: number, state, settings, validation metrics without their split, seconds."""
        return self.summary.frame

    @property
    def front(self) -> tuple[int, ...]:
        """Numbers of the trials that no other beats in every objective."""
        return self.summary.front

    @property
    def choice(self) -> RunConfig | None:
        """The configuration of the chosen trial; None while no trial is complete."""
        return None if self.summary.chosen is None else self.summary.chosen_config

    def document(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        from sweeps.analysis.summary import SweepResult

        return SweepResult(self.summary, self.report, self.best, self.run_id).document()


def study(
    config: RunConfig,
    *,
    name: str | None = None,
    space: Iterable[str] = (),
    space_table: Mapping[str, Any] | None = None,
    objectives: Iterable[str] = (),
    seed: int = 0,
    window: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    eta: int = 3,
    first_rung: int | None = None,
    executor: str = "auto",
    home: Home | None = None,
) -> "StudyConfig":
    """What makes a study: `space` entries as on the command line ("beta=0.5:8", "latent_dim=off"), objectives by
    name (by default those of the model), the name by default the data set's.

    A study that was begun keeps its window, sampler and pruner where they are not given again. `sampler` is a row of
    `sweeps.study.samplers.SAMPLERS`, by default tpe; `pruner` is pareto (the default)
    or none; `eta` and `first_rung` (epochs) place its rungs.
    """
    from sweeps.execution.placement import WINDOW, executor_kind
    from sweeps.study.config import DEFAULT_SAMPLER, StudyConfig, checked_name
    from sweeps.study.ledger import held_config
    from sweeps.study.objective import chosen
    from sweeps.study.space import build_space

    name = checked_name(name or config.data.dataset)
    kind = executor_kind(config, executor)
    held = held_config(home or Home.from_environment(), name)
    return StudyConfig(
        name=name,
        base=config,
        space=build_space(dict(space_table or {}), tuple(space)),
        objectives=chosen(tuple(objectives), config.model.kind, config.sampling.prior),
        seed=seed,
        window=window if window is not None else held.window if held else WINDOW[kind],
        sampler=sampler or (held.sampler if held else DEFAULT_SAMPLER),
        pruner=pruner or (held.pruner if held else "pareto"),
        eta=eta,
        first_rung=first_rung,
    )


def sweep(
    study: "StudyConfig",
    *,
    trials: int = 40,
    final_seeds: int = 3,
    prefer: Iterable[str] = (),
    judges: int = JUDGES,
    workers: int | None = None,
    executor: str = "auto",
    timeout: float | None = None,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
    on_update: "Callable[[SweepView], None]" = _silent,
) -> Study:
    """`trials` finished trials in all, the choice made among candidates re-trained from `final_seeds` seeds and opened
    on test, the report.

    `prefer` holds bounds that the choice keeps where a trial of the front does, such as "accuracy>=.99": then it is the
    likeliest that does. The choice is read on test by judges of as many seeds as `judges` says. A repeated call does
    what is left of it. `workers` is by default one per core; `timeout` is in minutes.
    """
    from sweeps.driver import sweep as drive
    from sweeps.execution.placement import executor_kind, place
    from sweeps.study.closing import Closing, preferences

    ctx = open_context(study.base, home, say=say, progress=progress)
    kind = executor_kind(study.base, executor)
    n_workers = min(_workers(None), study.window) if workers is None else workers
    placement = place(kind, workers=n_workers, at_once=min(study.window, trials))
    result = drive(
        ctx,
        study,
        trials=trials,
        closing=Closing(final_seeds, preferences(tuple(prefer), study.objectives), judges),
        connect=lambda: connect(ctx.home, experiment, say=say),
        make_executor=placement.make,
        workers=placement.workers,
        timeout=timeout * 60 if timeout is not None else None,
        on_update=on_update,
    )
    return Study(result.summary, result.report, result.best, result.run_id)


def load_study(name: str, *, home: Home | None = None) -> Study:
    """A study from its ledger and the store; StudyError if there is none of that name."""
    from sweeps.driver import stored_summary

    home = home or Home.from_environment()
    folder = home.reports / name
    best = folder / "best.toml"
    return Study(stored_summary(home, name), folder / "report.html", best if best.exists() else None)


def grid(
    config: RunConfig,
    param: str,
    values: str | Iterable[float],
    *,
    seeds: int = 5,
    judges: int = JUDGES,
    name: str | None = None,
) -> "AblationConfig":
    """What makes an ablation: one numeric setting ("beta", "train.beta"), its values, training seeds for each, and the
    judges of how many seeds read every model."""
    from sweeps.study.ablation import AblationConfig, parse_values
    from sweeps.study.config import checked_name
    from sweeps.study.space import numeric_setting

    setting = numeric_setting(param, option="--param")
    short = setting.partition(".")[2].replace("_", "-")
    return AblationConfig(
        name=checked_name(name or f"ablation-{config.data.dataset}-{short}"),
        base=config.with_settings({"panel.judges": max(judges, config.panel.judges)}),
        setting=setting,
        values=parse_values(values) if isinstance(values, str) else tuple(values),
        seeds=seeds,
    )


def ablate(
    grid: "AblationConfig",
    *,
    workers: int | None = None,
    executor: str = "auto",
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
    on_state: Callable[[str, str], None] = _silent,
) -> "tuple[Ablation, Path]":
    """Every cell of the grid trained and opened on test, and the report; repeating the call does what is left."""
    from sweeps.ablation import ablate as drive
    from sweeps.execution.placement import executor_kind, place

    kind, n_workers = executor_kind(grid.base, executor), _workers(workers)
    ctx = open_context(grid.base, home, say=say, progress=progress)
    return drive(
        ctx,
        grid,
        connect=lambda: connect(ctx.home, experiment, say=say),
        make_executor=place(kind, workers=n_workers, at_once=len(grid.cells())).make,
        on_state=on_state,
    )


def rebuild_report(name: str, *, home: Home | None = None) -> Path:
    """The report of a study, an ablation or a run, by name, written anew from stored results; the html's path."""
    from pipeline.runs.stored import find_run_key
    from sweeps.study.ablation import stored_ablations
    from sweeps.study.ledger import study_names

    home = home or Home.from_environment()
    ablations, studies, unread = stored_ablations(home), [], None
    try:
        studies = study_names(home)
    except StudyError as error:  # a database that cannot be read: a run or an ablation needs none
        unread = error
    if name in studies:
        from sweeps.driver import rebuild_report as rebuild_study

        return rebuild_study(home, name).report
    if name in ablations:
        from sweeps.ablation import rebuild_ablation

        return rebuild_ablation(home, ablations[name])
    try:
        key = find_run_key(home, name)
    except ConfigError as error:
        if unread is not None:
            raise unread from None
        known = ", ".join([*studies, *ablations]) or "none yet"
        raise ConfigError(f"{error}; studies are {known}") from None
    from pipeline.reporting.run import write_run_report
    from pipeline.runs.outcome import load_outcome

    return write_run_report(load_outcome(home, key), home)


def sync(
    names: Iterable[str] = (),
    *,
    everything: bool = False,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
) -> "Synced":
    """Record in MLflow what it lacks: of everything in the home, or of these studies, ablations and runs.

    `everything` goes over runs that it has as finished, too. Nothing is trained, and nothing is recorded twice.
    """
    from sweeps.sync import sync as record

    home = home or Home.from_environment()
    home.check_writable()
    tracker = connect(home, experiment, say=say)
    return record(home, tracker, names=tuple(names), again=everything, say=say, progress=progress)


def home_status(home: Home | None = None) -> dict[str, Any]:
    """What is in a home: studies, ablations, runs (newest first), damage, how often test was opened, bytes by place."""
    from pipeline.runs import listing
    from sweeps.listing import ablations, studies

    home = home or Home.from_environment()
    unreadable, found = [], []
    try:
        found = studies(home)
    except StudyError as error:
        unreadable.append(str(error))
    return {
        "home": str(home.root),
        "studies": found,
        "ablations": ablations(home),
        "runs": listing.opened_runs(home),
        "unreadable": unreadable,
        "set_aside": listing.set_aside(home),
        "damaged_at": str(home.store.root / "damaged"),
        "opened": listing.times_opened(home),
        "bytes": listing.disk_used(home),
    }


# ---- what they share -----------------------------------------------------------------------------------------------


def open_context(
    config: RunConfig,
    home: Home | None = None,
    *,
    force: set[str] | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
) -> "Context":
    """What stages are given; HomeError if the home cannot be written. Sets this process's threads."""
    home = home or Home.from_environment()
    home.check_writable()
    from pipeline.runs.execute import set_up_process
    from pipeline.stages.context import Context

    set_up_process(config.runtime.threads)
    return Context(config, home, say=say, progress=progress, force=force or set())


def experiment_name(asked: str | None = None) -> str:
    """MLflow's experiment: the one asked for, or $MLFLOW_EXPERIMENT_NAME, or cvae-pipe."""
    name = (asked if asked is not None else os.environ.get("MLFLOW_EXPERIMENT_NAME", "")).strip()
    if asked is not None and not name:
        raise ConfigError("--experiment is empty; it must be a name")
    return name or EXPERIMENT


def connect(home: Home, experiment: str | None = None, *, say: Say = _silent) -> "MlflowTracker":
    """The home's tracker; its warnings are said."""
    from pipeline.tracking import MlflowTracker

    name = experiment_name(experiment)
    return MlflowTracker.connect(home, name, on_warning=lambda text: say(f"warning: {text}"))


def _workers(asked: int | None) -> int:
    """How many worker processes: what was asked for, or one per core that this process may use."""
    if asked is not None and asked < 1:
        raise StudyError(f"--workers is {asked}; it must be 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores
