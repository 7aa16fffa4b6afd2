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
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.flags import DAILY
from pipeline.config.reading import build_config, identified
from pipeline.config.sections import JUDGES, NOISE_LEVELS
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError, TrackingError
from pipeline.store.home import Home

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from pipeline.experiments.baselines import Baseline
    from pipeline.models.architecture import Architecture
    from pipeline.models.priors import Prior
    from pipeline.reporting.notebook import Bar
    from pipeline.runs.generator import Generator
    from pipeline.runs.outcome import Outcome
    from pipeline.runs.planning import Plan
    from pipeline.stages.context import Context
    from pipeline.tracking import MlflowTracker, Surrounding
    from sweeps.analysis.summary import Summary
    from sweeps.analysis.trends import Ablation
    from sweeps.execution.cluster import Cluster
    from sweeps.keeping.doctor import Diagnosis
    from sweeps.keeping.packing import Packed
    from sweeps.keeping.removal import RemovalPlan
    from sweeps.keeping.unpacking import Unpacked
    from sweeps.progress import SweepView
    from sweeps.study.ablation import AblationConfig
    from sweeps.study.closing import Closing
    from sweeps.study.config import StudyConfig
    from sweeps.sync import Synced

EXPERIMENT = "cvae-pipe"
"""MLflow's experiment, unless another is named."""

FINAL_SEEDS = 3
"""Seeds that the candidates of a study are re-trained with, where nobody says how many."""
LOADING = "loading torch and MLflow"
"""Said for the seconds that it takes."""

Say = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]
"""Called with (what, done, total, note) during long work."""


def _silent(*_: object) -> None:
    """Hears everything and says nothing."""


def bar() -> "Bar":
    """A progress bar for notebooks: `run(config, progress=bar())`; of a sweep `on_update=bar().trials`, too."""
    from pipeline.reporting.notebook import Bar

    return Bar()


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
    return build_config(flags={"data.dataset": dataset} | flags, look=look)


def look(path: str) -> tuple[str, str, int]:
    """The whole path of images of one's own, the SHA-256 of what is there, and how many there are to train on."""
    from pipeline.data.sources.presence import whole_path

    whole_path(path)  # what is not there is known before the rest is loaded
    from pipeline.data.sources.own import look as look_at

    return look_at(path, cache=Home.from_environment().root / ".cache" / "looked")


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
        return self.home.reports / self.name / "report.html"

    def document(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        from pipeline.reporting.document import run_document

        return run_document(self.home, self.outcome, self.run_id, self.report)

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

    def _repr_html_(self) -> str:
        """What a notebook shows: headlines, warnings, images."""
        from pipeline.reporting.notebook import run_html

        return run_html(self.outcome, self.report)


def run(
    config: RunConfig,
    *,
    home: Home | None = None,
    experiment: str | None = None,
    force: bool = False,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    note: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """All stages for one configuration, opened on test, recorded in MLflow, with a report.

    What is up to date is not done again; an interrupted call goes on when it is repeated. `force` does all but the
    data set's own stages anew. `name`, `tags` and `note` are what the run is called from now on, in MLflow, its report
    and in lists; they do not make it another run. ConfigError for a name that something else has.

    Inside `with mlflow.start_run():` it is recorded as a child of that run, in its experiment, if both have one store.
    """
    from pipeline.experiments.finished import finished
    from pipeline.runs.names import checked_label

    home = home or Home.from_environment()
    label = checked_label(name, tags or {}, note)
    if label.name:
        _refuse_taken(home, label.name, config)
    inside = _surrounding(home, say)
    if not (force or label or inside) and (there := finished(home, config, experiment_name(experiment), say)):
        return Run(there[0], home, there[1])
    with _busy(progress, LOADING):
        from pipeline.experiments import run as experiments
        from pipeline.stages.graph import STAGES

    if inside and experiment in (None, inside.experiment):
        experiment, parent = inside.experiment, inside.run_id
    else:  # a parent in another experiment would have a child that no page shows
        parent = None
    ctx = open_context(config, home, say=say, progress=progress)
    ctx.force.update(s.name for s in STAGES if force and not s.shared)
    with working(ctx.home, "run"):
        result = experiments.run(ctx, lambda: connect(ctx.home, experiment, say=say), label, parent_id=parent)
    return Run(result.outcome, ctx.home, result.run_id)


def _surrounding(home: Home, say: Say) -> "Surrounding | None":
    """The caller's own MLflow run, if one is open."""
    if "mlflow" not in sys.modules:
        return None
    from pipeline.tracking import surrounding_run

    return surrounding_run(home, lambda text: say(f"warning: {text}"))


def _refuse_taken(home: Home, name: str, config: RunConfig) -> None:
    """ConfigError if a name is that of something else than the run of this configuration."""
    from pipeline.runs.stored import candidates, known_runs
    from pipeline.stages.graph import run_key
    from sweeps.finding import named_things

    key = run_key(config, "test")
    called = [run for run in known_runs(home) if run.key != key and run.is_called(name)]
    others = [run for run in called if run_key(run.config, run.split) != key]  # an older one of it may lose it
    if others:
        raise ConfigError(f"--name {name} is another run's: {candidates(others)}; choose another name")
    if taken := [found for found in named_things(home, ("study", "ablation")) if found.name == name]:
        raise ConfigError(f"--name {name} is the name of {taken[0].kind} {name}; choose another name")


def denoise(
    config: RunConfig,
    levels: Iterable[int] = NOISE_LEVELS,
    *,
    home: Home | None = None,
    experiment: str | None = None,
    force: bool = False,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """The run of a configuration, with noise of these levels (per cent of black to white) taken out of its test images,
    against a Gaussian filter. The report has a section on it. What is missing before it is built."""
    configs = [config.with_settings({"denoise.level": level}) for level in levels]
    return _recipe(open_context(config, home, say=say, progress=progress), "denoise", configs, experiment, force)


def anomalies(
    config: RunConfig,
    held_out: Iterable[int | str] = (0,),
    *,
    home: Home | None = None,
    experiment: str | None = None,
    force: bool = False,
    say: Say = _silent,
    progress: Progress = _silent,
) -> Run:
    """The run of a configuration, with models of the same settings each trained without one class (its index or name;
    "all"): how strange each finds that class on test. The report has a section on them."""
    from pipeline.runs.requests import label_index
    from pipeline.stages.prepare import prepare

    ctx = open_context(config, home, say=say, progress=progress)
    with working(ctx.home, "anomalies"):
        names = prepare(ctx).class_names
    asked = list(held_out)
    indices = list(range(len(names))) if asked == ["all"] else [label_index(names, label) for label in asked]
    configs = [config.with_settings({"anomalies.held_out": label}) for label in indices]
    return _recipe(ctx, "anomalies", configs, experiment, force)


def _recipe(ctx: "Context", name: str, configs: list[RunConfig], experiment: str | None, force: bool) -> Run:
    """The run, then a recipe's stage under each of these configurations, then the run's report with its section."""
    from pipeline.experiments import run as experiments
    from pipeline.reporting.run import write_run_report
    from pipeline.runs.outcome import load_outcome
    from pipeline.stages.graph import STAGES

    [stage] = [stage for stage in STAGES if stage.name == name]
    with working(ctx.home, name):
        done = experiments.run(ctx, lambda: connect(ctx.home, experiment, say=ctx.say))
        for own in configs:
            stage.build(replace(ctx, config=own, force={name} if force else set()), "test")
        outcome = load_outcome(ctx.home, done.outcome.key)
        write_run_report(outcome, ctx.home)
    return Run(outcome, ctx.home, done.run_id)


def baselines(
    config: RunConfig,
    *,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
) -> "list[Baseline]":
    """ae, vae and cvae trained under one configuration, and the MLP classifier; a row each, and a report."""
    from pipeline.experiments.baselines import baselines as train_all
    from pipeline.experiments.baselines_report import write_baselines

    ctx = open_context(config, home, say=say, progress=progress)
    with working(ctx.home, "baselines"):
        rows = train_all(ctx, lambda: connect(ctx.home, experiment, say=say))
        write_baselines(ctx.home, rows)
    return rows


def load_run(name: str = "best", *, home: Home | None = None, say: Say = _silent) -> Run:
    """A finished run by its name or key, the beginning of one, its report's folder, @last or @best; of a study, its
    choice; "best" is that of the latest study, chosen on validation, or, in a home without, the run that was finished
    last. "@best" looks at the test scores of all runs: fit to look at, not to quote. Which run such a word means is
    said. ConfigError with the candidates otherwise."""
    from sweeps.finding import find_run_key

    home = home or Home.from_environment()
    key = find_run_key(home, name, say)  # before what follows loads
    from pipeline.runs.outcome import load_outcome

    return Run(load_outcome(home, key), home)


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

    from pipeline.experiments.record import served_model
    from pipeline.tracking.registry import package as package_model

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
        from sweeps.reporting.documents import study_document

        return study_document(SweepResult(self.summary, self.report, self.best, self.run_id))

    def _repr_html_(self) -> str:
        """What a notebook shows: the choice, the front, images."""
        from sweeps.reporting.notebook import study_html

        return study_html(self.summary, self.report)


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
    cluster: "Cluster | None" = None,
    home: Home | None = None,
) -> "StudyConfig":
    """What makes a study: `space` entries as on the command line ("beta=0.5:8", "latent_dim=off"), objectives by
    name (by default those of the model), the name by default the data set's.

    A study that was begun keeps its window, sampler and pruner where they are not given again. `sampler` is a row of
    `sweeps.study.samplers.SAMPLERS`, by default tpe; `pruner` is pareto (the default)
    or none; `eta` and `first_rung` (epochs) place its rungs. With the executor ray, which joins the `cluster`, a new
    study's window is as wide as the cluster has room for trials.
    """
    from sweeps.study.config import DEFAULT_SAMPLER, MEMORY, StudyConfig, checked_name
    from sweeps.study.ledger import held_config
    from sweeps.study.objective import chosen
    from sweeps.study.space import build_space

    name = checked_name(name or config.data.name)
    held = held_config(home or Home.from_environment(), name)
    made = StudyConfig(
        name=name,
        base=config,
        space=build_space(dict(space_table or {}), tuple(space)),
        objectives=chosen(tuple(objectives), config.model.kind, config.sampling.prior),
        seed=seed,
        window=window if window is not None else held.window if held else 1,
        sampler=sampler or (held.sampler if held else DEFAULT_SAMPLER),
        pruner=pruner or (held.pruner if held else "pareto"),
        eta=eta,
        first_rung=first_rung,
        memory=held.memory if held else MEMORY,
    )
    if window is not None or held:
        return made
    from sweeps.execution.placement import default_window, executor_kind  # last: it loads torch, to look for a GPU

    return replace(made, window=default_window(executor_kind(config, executor), cluster))


def held_study(name: str, *, home: Home | None = None) -> "StudyConfig | None":
    """What a study was started with, by its exact name; None if there is no such study with a trial. `sweep` goes on
    with it."""
    from sweeps.finding import study_names

    home = home or Home.from_environment()
    if name not in study_names(home):
        return None
    from sweeps.study.ledger import held_config

    return held_config(home, name)


def continue_study(
    held: "StudyConfig",
    settings: Mapping[str, Any] | None = None,
    *,
    instead: str = "",
    space: Iterable[str] = (),
    space_table: Mapping[str, Any] | None = None,
    objectives: Iterable[str] = (),
    **asked: Any,
) -> "StudyConfig":
    """A study that was begun, as it is. `settings`, `space`, `objectives` and what else `study` takes, as far as they
    are given, must be its own: StudyError with the differences, and `instead`, otherwise. How it runs (device, threads,
    gates) may be said anew."""
    from sweeps.study.continuing import continued
    from sweeps.study.objective import chosen
    from sweeps.study.space import build_space

    settings = identified(settings or {}, look)  # a folder of that name may hold other images
    base = held.base.with_settings(settings)
    names, entries = tuple(objectives), tuple(space)
    return continued(
        held,
        settings,
        instead=instead,
        space=build_space(dict(space_table or {}), entries) if entries or space_table else None,
        objectives=chosen(names, base.model.kind, base.sampling.prior) if names else None,
        **asked,
    )


def free_study_name(name: str, *, home: Home | None = None) -> str:
    """That name with the first number behind it that no study has."""
    from sweeps.finding import study_names

    taken = set(study_names(home or Home.from_environment()))
    return next(free for n in range(2, len(taken) + 3) if (free := f"{name}-{n}") not in taken)


def replaced_by_search(study: "StudyConfig", settings: Mapping[str, Any]) -> dict[str, Any]:
    """Which of these settings a study searches, so that their values have no say."""
    from sweeps.study.continuing import replaced_by_search as replaced

    return replaced(study, settings)


def sweep(
    study: "StudyConfig",
    *,
    trials: int = 40,
    final_seeds: int | None = None,
    prefer: Iterable[str] | None = None,
    judges: int | None = None,
    workers: int | None = None,
    executor: str = "auto",
    cluster: "Cluster | None" = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
    on_update: "Callable[[SweepView], None]" = _silent,
) -> Study:
    """`trials` finished trials in all, the choice made among candidates re-trained from `final_seeds` seeds and opened
    on test, the report.

    `prefer` holds bounds that the choice keeps where a trial of the front does, such as "accuracy>=.99": then it is the
    likeliest that does. The choice is read on test by judges of as many seeds as `judges` says. These three are by
    default what the study was last closed with; of a new one 3 seeds, no bounds, 3 judges. A repeated call does what is
    left of it. `workers` is by default one per core, or as many as a cluster has room for; `timeout` is in minutes.
    `retry_failed` trains trials again that failed through no fault of their settings.
    """
    from sweeps.finished import finished
    from sweeps.study.config import check_amounts

    home = home or Home.from_environment()
    seconds = timeout * 60 if timeout is not None else None
    check_amounts(study, trials=trials, workers=workers, timeout=seconds)
    closing = _closing(home, study, final_seeds, prefer, judges)
    if not retry_failed and (
        there := finished(home, study, trials=trials, closing=closing, experiment=experiment_name(experiment))
    ):
        say(f"{there.summary.finished} finished, {trials} asked: nothing to do")
        return Study(there.summary, there.report, there.best, there.run_id)
    with _busy(progress, LOADING):
        from sweeps.driver import sweep as drive
        from sweeps.execution.cluster import Cluster
        from sweeps.execution.placement import executor_kind, on_cluster, place, trained_alone

        ctx = open_context(study.base, home, say=say, progress=progress)
    kind = executor_kind(study.base, executor)
    n_workers = min(_workers(None), study.window) if workers is None else workers
    if said := trained_alone(kind, study.base, study.space):
        say(said)
    if kind == "ray":
        placement = on_cluster(
            ctx,
            cluster or Cluster(),
            workers=workers,
            most=study.window,
            why=f"the study's window being {study.window}",
        )
    else:
        placement = place(kind, workers=n_workers, at_once=min(study.window, trials))
    with working(ctx.home, f"sweep {study.name}"):
        result = drive(
            ctx,
            study,
            trials=trials,
            closing=closing,
            connect=lambda: connect(ctx.home, experiment, say=say),
            make_executor=placement.make,
            workers=placement.workers,
            timeout=seconds,
            retry_failed=retry_failed,
            on_update=on_update,
        )
    if result.summary.finished > trials:
        say(f"{result.summary.finished} finished, {trials} asked: nothing to train")
    return Study(result.summary, result.report, result.best, result.run_id)


def _closing(
    home: Home, study: "StudyConfig", final_seeds: int | None, prefer: Iterable[str] | None, judges: int | None
) -> "Closing":
    """How a study is to be closed: as asked, else as it was the last time, else as studies are by default."""
    from sweeps.finding import study_names
    from sweeps.study.closing import CLOSING, Closing, preferences, recorded_closing
    from sweeps.study.ledger import load_study as read_study

    last = Closing(FINAL_SEEDS, (), JUDGES)
    if study.name in study_names(home) and CLOSING in (ledger := read_study(home, study.name)).user_attrs:
        last = recorded_closing(ledger, study.objectives)
    return Closing(
        last.final_seeds if final_seeds is None else final_seeds,
        last.preferences if prefer is None else preferences(tuple(prefer), study.objectives),
        last.judges if judges is None else judges,
    )


# ---- what would be done ----------------------------------------------------------------------------------------------


def plan_run(config: RunConfig, *, home: Home | None = None, force: bool = False) -> "Plan":
    """What `run` would do: stages that are there, stages that would be built and why, seconds. Nothing is written."""
    from pipeline.runs.planning import plan_run as plan

    return plan(home or Home.from_environment(), config, force=force)


def plan_baselines(config: RunConfig, *, home: Home | None = None) -> "list[Plan]":
    """What `baselines` would do, a plan for each model."""
    from pipeline.config.sections import MODELS

    plans = [(kind, plan_run(config.with_settings({"model.kind": kind}), home=home)) for kind in MODELS]
    return [replace(plan, what=f"baseline {kind}") for kind, plan in plans]


def plan_sweep(
    study: "StudyConfig",
    *,
    trials: int = 40,
    final_seeds: int | None = None,
    prefer: Iterable[str] | None = None,
    judges: int | None = None,
    workers: int | None = None,
    home: Home | None = None,
) -> "Plan":
    """What `sweep` would do."""
    from sweeps.planning import plan_sweep as plan
    from sweeps.study.config import check_amounts

    home = home or Home.from_environment()
    check_amounts(study, trials=trials, workers=workers, timeout=None)
    closing = _closing(home, study, final_seeds, prefer, judges)
    return plan(home, study, trials=trials, closing=closing, workers=_workers(workers))


def plan_ablation(grid: "AblationConfig", *, workers: int | None = None, home: Home | None = None) -> "Plan":
    """What `ablate` would do."""
    from sweeps.planning import plan_ablation as plan

    return plan(home or Home.from_environment(), grid, workers=_workers(workers))


def load_study(name: str, *, home: Home | None = None) -> Study:
    """A study from its ledger and the store, by its name, the beginning of it, or its report; ConfigError if there is
    none."""
    from sweeps.finding import find

    home = home or Home.from_environment()
    name = find(home, name, ("study",)).name
    from sweeps.stored import stored_summary

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
        name=checked_name(name or f"ablation-{config.data.name}-{short}"),
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
    cluster: "Cluster | None" = None,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = _silent,
    progress: Progress = _silent,
    on_state: Callable[[str, str], None] = _silent,
) -> "tuple[Ablation, Path]":
    """Every cell of the grid trained and opened on test, and the report; repeating the call does what is left."""
    from sweeps.ablation import ablate as drive
    from sweeps.execution.cluster import Cluster
    from sweeps.execution.placement import executor_kind, on_cluster, place, trained_alone

    kind, n_workers, cells = executor_kind(grid.base, executor), _workers(workers), len(grid.cells())
    if said := trained_alone(kind, grid.base):
        say(said)
    ctx = open_context(grid.base, home, say=say, progress=progress)
    if kind == "ray":
        placement = on_cluster(ctx, cluster or Cluster(), workers=workers, most=cells, why=f"there being {cells} cells")
    else:
        placement = place(kind, workers=n_workers, at_once=cells)
    with working(ctx.home, f"ablate {grid.name}"):
        return drive(
            ctx,
            grid,
            connect=lambda: connect(ctx.home, experiment, say=say),
            make_executor=placement.make,
            on_state=on_state,
        )


def rebuild_report(name: str, *, home: Home | None = None) -> Path:
    """The report of a study, an ablation or a run, by name (see `load_run`), written anew from stored results; the
    html's path."""
    from sweeps.finding import find

    home = home or Home.from_environment()
    found = find(home, name)
    if found.kind == "study":
        from sweeps.rebuilding import rebuild_report as rebuild_study

        return rebuild_study(home, found.name).report
    if found.kind == "ablation":
        from sweeps.ablation import rebuild_ablation
        from sweeps.study.ablation import stored_ablations

        return rebuild_ablation(home, stored_ablations(home)[found.name])
    from pipeline.reporting.run import write_run_report
    from pipeline.runs.outcome import load_outcome

    return write_run_report(load_outcome(home, found.key), home)


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
    """What is in a home, newest first: studies, ablations, runs; what is unfinished and what goes on with it, who is at
    work, damage, how often test was opened, bytes by place."""
    from pipeline.runs import listing
    from pipeline.runs.stored import known_runs
    from pipeline.store.use import users
    from sweeps.listing import ablations, studies

    home = home or Home.from_environment()
    unreadable, found, left, known = [], [], [], known_runs(home)
    try:
        found = studies(home)
    except StudyError as error:
        unreadable.append(str(error))
    try:
        left = listing.unfinished_runs(home)
    except TrackingError as error:
        unreadable.append(str(error))
    return {
        "home": str(home.root),
        "studies": found,
        "ablations": ablations(home),
        "runs": listing.opened_runs(home, known),
        "unfinished_runs": left,
        "at_work": users(home),
        "unreadable": unreadable,
        "set_aside": listing.set_aside(home),
        "damaged_at": str(home.store.root / "damaged"),
        "opened": listing.times_opened(home, known),
        "bytes": listing.disk_used(home),
    }


# ---- house-keeping -------------------------------------------------------------------------------------------------


def remove(names: Iterable[str], *, dry_run: bool = True, home: Home | None = None) -> "RemovalPlan":
    """Studies, ablations, runs or comparisons, with what nobody else needs of them; a plan alone until `dry_run` is
    False. HomeError while a sweep or a run is at work in the home."""
    from sweeps.keeping.removal import carried_out, finish_pending, plan_removal

    home, names = home or Home.from_environment(), tuple(names)
    finish_pending(home)
    if dry_run:
        return plan_removal(home, names)
    return carried_out(home, lambda: plan_removal(home, names))


def collect(*, days: float = 7, dry_run: bool = True, home: Home | None = None) -> "RemovalPlan":
    """What no study, run or report of the home needs and is older than `days`; a plan alone until `dry_run` is
    False."""
    from sweeps.keeping.removal import carried_out, finish_pending, plan_collection

    home = home or Home.from_environment()
    finish_pending(home)
    if dry_run:
        return plan_collection(home, days=days)
    return carried_out(home, lambda: plan_collection(home, days=days))


def doctor(*, thoroughly: bool = False, home: Home | None = None) -> "Diagnosis":
    """What is wrong with the installation and the home, and what mends it; `thoroughly`: every stored hash, too."""
    from sweeps.keeping.doctor import diagnose

    return diagnose(home or Home.from_environment(), thoroughly=thoroughly)


def pack(name: str, out: Path, *, data: bool = True, home: Home | None = None) -> "Packed":
    """A study in one zip file: results, ledger, report, MLflow's runs; without `data`, less the prepared images."""
    from sweeps.keeping.packing import pack as write

    home = home or Home.from_environment()
    with working(home, f"pack {name}"):
        return write(home, name, out, data=data)


def unpack(path: Path, *, most_gb: float = 20, home: Home | None = None, say: Say = _silent) -> "Unpacked":
    """Take a packed study into the home: it verifies, reports and continues there. PackError for a file that does not
    keep to the rules; nothing in it is run."""
    from sweeps.keeping.unpacking import unpack as take_in

    home = home or Home.from_environment()
    home.check_writable()
    with working(home, f"unpack {path.name}"):
        return take_in(home, path, connect=lambda: connect(home, say=say), most_gb=most_gb, say=say)


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
    home.tidy()
    from pipeline.runs.execute import set_up_process
    from pipeline.stages.context import Context

    set_up_process(config.runtime.threads)
    return Context(config, home, say=say, progress=progress, force=force or set())


@contextmanager
def working(home: Home, what: str) -> Iterator[None]:
    """Results are made inside, beside others and never beside a removal; what a kill cut short or left is seen
    to first."""
    from pipeline.store.trash import pending
    from pipeline.store.use import at_work, notes_of_the_dead

    if notes_of_the_dead(home):
        from sweeps.keeping.removal import clear_up_after_the_dead

        clear_up_after_the_dead(home)
    if any(pending(home)):
        from sweeps.keeping.removal import finish_pending

        finish_pending(home)
    with at_work(home, what):
        yield


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


@contextmanager
def _busy(progress: Progress, what: str) -> Iterator[None]:
    """Long work whose length nobody knows, as progress: 0 of 1, then 1 of 1."""
    progress(what, 0, 1, "")
    yield
    progress(what, 1, 1, "")


def _workers(asked: int | None) -> int:
    """How many worker processes: what was asked for, or one per core that this process may use."""
    if asked is not None and asked < 1:
        raise StudyError(f"--workers is {asked}; it must be 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or cores
