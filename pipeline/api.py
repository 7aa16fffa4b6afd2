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
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.flags import DAILY
from pipeline.config.reading import build_config
from pipeline.config.sections import JUDGES, NOISE_LEVELS
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from pipeline.store.home import Home

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from pipeline.experiments.baselines import Baseline
    from pipeline.models.architecture import Architecture
    from pipeline.models.priors import Prior
    from pipeline.runs.generator import Generator
    from pipeline.runs.outcome import Outcome
    from pipeline.stages.context import Context
    from pipeline.tracking import MlflowTracker
    from sweeps.analysis.summary import Summary
    from sweeps.analysis.trends import Ablation
    from sweeps.progress import SweepView
    from sweeps.study.ablation import AblationConfig
    from sweeps.study.config import StudyConfig

EXPERIMENT = "cvae-pipe"
"""MLflow's experiment."""

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
    def generator(self) -> "Generator":
        """Asked for images: of labels, between labels or images, in an image's style. DamageError if its weights are
        gone from the store or are not what was written."""
        from pipeline.runs.generator import load_generator

        return load_generator(self.home, self.outcome)

    @property
    def model(self) -> "Architecture":
        """The trained model, in eval mode; DamageError as of `generator`."""
        return self.generator.model

    @property
    def prior(self) -> "Prior":
        """What z is drawn from: the prior that the run is scored under."""
        return self.generator.prior


def run(
    config: RunConfig,
    *,
    home: Home | None = None,
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
    result = experiments.run(ctx, lambda: connect(ctx.home, say=say))
    return Run(result.outcome, ctx.home, result.run_id)


def denoise(
    config: RunConfig,
    levels: Iterable[int] = NOISE_LEVELS,
    *,
    home: Home | None = None,
    force: bool = False,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """The run of a configuration, with noise of these levels (per cent of black to white) taken out of its test images,
    against a Gaussian filter. The report has a section on it. What is missing before it is built."""
    configs = [config.with_settings({"denoise.level": level}) for level in levels]
    return _recipe(config, "denoise", configs, home, force, say, progress)


def anomalies(
    config: RunConfig,
    held_out: Iterable[int | str] = (0,),
    *,
    home: Home | None = None,
    force: bool = False,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """The run of a configuration, with models of the same settings each trained without one class (its index or name;
    "all"): how strange each finds that class on test. The report has a section on them."""
    from pipeline.runs.generator import label_index
    from pipeline.stages.prepare import prepare

    names = prepare(open_context(config, home, say=say, progress=progress)).class_names
    asked = list(held_out)
    indices = list(range(len(names))) if asked == ["all"] else [label_index(names, label) for label in asked]
    configs = [config.with_settings({"anomalies.held_out": label}) for label in indices]
    return _recipe(config, "anomalies", configs, home, force, say, progress)


def _recipe(
    config: RunConfig,
    name: str,
    configs: list[RunConfig],
    home: Home | None,
    force: bool,
    say: Say,
    progress: Progress,
) -> Run:
    """The run, then a recipe's stage under each of these configurations, then the run's report with its section."""
    from pipeline.experiments import run as experiments
    from pipeline.reporting.run import write_run_report
    from pipeline.runs.outcome import load_outcome
    from pipeline.stages.graph import STAGES

    ctx = open_context(config, home, say=say, progress=progress)
    done = experiments.run(ctx, lambda: connect(ctx.home, say=say))
    [stage] = [stage for stage in STAGES if stage.name == name]
    for own in configs:
        stage.build(replace(ctx, config=own, force={name} if force else set()), "test")
    outcome = load_outcome(ctx.home, done.outcome.key)
    write_run_report(outcome, ctx.home)
    return Run(outcome, ctx.home, done.run_id)


def baselines(
    config: RunConfig, *, home: Home | None = None, say: Say = _silent, progress: Progress = _silent
) -> "list[Baseline]":
    """ae, vae and cvae trained under one configuration, and the MLP classifier beside them; a row each."""
    from pipeline.experiments.baselines import baselines as train_all

    ctx = open_context(config, home, say=say, progress=progress)
    return train_all(ctx, lambda: connect(ctx.home, say=say))


def load_run(name: str, *, home: Home | None = None) -> Run:
    """A finished run by its name or key, or the beginning of one; ConfigError with the candidates otherwise."""
    from pipeline.runs.outcome import find_run

    home = home or Home.from_environment()
    return Run(find_run(home, name), home)


def chosen_run(name: str = "best", *, home: Home | None = None) -> Run:
    """A finished run by its name or key; by a study's name its choice; "best" is the choice of the latest study
    or, where there is none, the run that was finished last. ConfigError if there is nothing of that name."""
    from pipeline.runs.listing import opened_runs

    home = home or Home.from_environment()
    from sweeps.listing import studies
    from sweeps.study.ledger import study_names

    unread: StudyError | None = None
    try:
        if name in study_names(home):
            return _choice_of(name, home)
        if name == "best":
            for study in studies(home):
                if study.states.get("complete"):
                    return _choice_of(study.name, home)
    except StudyError as error:  # a database that cannot be read: a run needs none
        unread = error
    if name == "best":
        if unread is not None:
            raise unread
        newest = opened_runs(home)
        if not newest:
            raise ConfigError("there is no run yet; `cvae-pipe run --dataset digits` makes one")
        name = newest[0].key
    return load_run(name, home=home)


def _choice_of(study: str, home: Home) -> Run:
    from sweeps.driver import stored_summary

    champion = stored_summary(home, study).champion
    if champion is None:
        raise StudyError(f"study {study} has no choice yet; repeat its sweep")
    return Run(champion, home)


def samples(
    run: Run, label: int | str, n: int, *, seed: int = 0, temperature: float = 1.0, prior: str | None = None
) -> "np.ndarray[tuple[int, ...], Any]":
    """`n` images of a class (its name or index): means in [0, 1], float32, (n, H, W), or (n, H, W, 3) of colour.

    z is drawn from the prior that the run is scored under, or `prior`, with its normal noise times `temperature`. The
    noise depends on `seed` and the class alone: the first ten images are the class's row in the run's report, and a
    longer draw begins with a shorter one. ConfigError for a label there is none of.
    """
    generator = run.generator
    if prior is not None:
        from pipeline.runs.generator import load_generator

        generator = load_generator(run.home, run.outcome, prior=prior)
    return generator.of_labels([generator.label(label)], n, seed=seed, temperature=temperature).images


def export(
    run: Run, folder: Path | None = None, *, onnx: bool = False, safetensors: bool = False, say: Say = _silent
) -> list[Path]:
    """A run's model as files that need nothing of this program; their paths. ONNX: generator, decoder, encoder, each
    checked with onnxruntime against torch. Safetensors: weights, with the steps as JSON. By default exported/<run>/."""
    from pipeline.exporting.onnx_file import require_onnx, write_onnx
    from pipeline.exporting.plain import write_plain
    from pipeline.exporting.programs import programs

    if not (onnx or safetensors):
        raise ConfigError("export needs a format: --onnx, --safetensors, or both")
    if onnx:
        require_onnx()
    asked = run.generator
    folder = folder or run.home.root / "exported" / run.name
    if any(above.exists() and not above.is_dir() for above in (folder, *folder.parents)):
        raise ConfigError(f"--out is {folder}, which is a file or lies in one; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    made = programs(asked.model, asked.prior, asked.shape)
    facts = {"run": run.name, "prior": asked.prior_name, "class_names": list(asked.class_names)}
    files: list[Path] = []
    if safetensors:
        files += write_plain(folder, made, asked.model, asked.shape, facts)
    if onnx:
        for path, apart in write_onnx(folder, made, asked.model, asked.shape, facts).items():
            say(f"{path.name}: within {apart:.0e} of torch in onnxruntime")
            files.append(path)
    return files


def package(run: Run, folder: Path | None = None) -> Path:
    """A run's model as a folder that MLflow loads and serves, with the code that it needs; where it is, by default
    exported/<run>/mlflow. It takes {label, n, seed, temperature} and gives the images of `samples`."""
    import shutil

    from pipeline.tracking.registry import package as package_model
    from sweeps.record import served_model

    _ = run.generator  # whole, or a DamageError
    if folder is None:
        folder = run.home.root / "exported" / run.name / "mlflow"
        shutil.rmtree(folder, ignore_errors=True)  # ours alone
    elif folder.exists():
        raise ConfigError(f"{folder} is there already; name a folder to be made")
    folder.parent.mkdir(parents=True, exist_ok=True)
    package_model(served_model(run.outcome, run.home), folder)
    return folder


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
        connect=lambda: connect(ctx.home, say=say),
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
        connect=lambda: connect(ctx.home, say=say),
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


def connect(home: Home, *, say: Say = _silent) -> "MlflowTracker":
    """The home's tracker; its warnings are said."""
    from pipeline.tracking import MlflowTracker

    return MlflowTracker.connect(home, EXPERIMENT, on_warning=lambda text: say(f"warning: {text}"))


def _workers(asked: int | None) -> int:
    """How many worker processes: what was asked for, or one per core that this process may use."""
    if asked is not None and asked < 1:
        raise StudyError(f"--workers is {asked}; it must be 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores
