"""Runs: configured, carried out, found again, sampled from, exported."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.api.opening import LOADING, Progress, Say, busy, connect, experiment_name, open_context, silent, working
from pipeline.config.flags import DAILY
from pipeline.config.reading import build_config
from pipeline.config.sections import NOISE_LEVELS
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
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
    from pipeline.stages.context import Context
    from pipeline.tracking import Surrounding


def bar() -> "Bar":
    """A progress bar for notebooks: `run(config, progress=bar())`; of a sweep `on_update=bar().trials`, too."""
    from pipeline.reporting.notebook import Bar

    return Bar()


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
    say: Say = silent,
    progress: Progress = silent,
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
    with busy(progress, LOADING):
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
    say: Say = silent,
    progress: Progress = silent,
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
    say: Say = silent,
    progress: Progress = silent,
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
    say: Say = silent,
    progress: Progress = silent,
) -> "list[Baseline]":
    """ae, vae and cvae trained under one configuration, and the MLP classifier; a row each, and a report."""
    from pipeline.experiments.baselines import baselines as train_all
    from pipeline.experiments.baselines_report import write_baselines

    ctx = open_context(config, home, say=say, progress=progress)
    with working(ctx.home, "baselines"):
        rows = train_all(ctx, lambda: connect(ctx.home, experiment, say=say))
        write_baselines(ctx.home, rows)
    return rows


def load_run(name: str = "best", *, home: Home | None = None, say: Say = silent) -> Run:
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
    run: Run, folder: Path | None = None, *, onnx: bool = False, safetensors: bool = False, say: Say = silent
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
