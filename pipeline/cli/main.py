"""The command line: options in, one call, one result out. The composition root; no logic.

Nothing heavy is imported at the top, so that --help is instant.
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.config.reading import build_config, read_toml
from pipeline.config.sections import DATASETS, DEVICES, MODELS
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, CvaePipeError, StudyError
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.stages.context import Context
    from pipeline.tracking import MlflowTracker

app = typer.Typer(
    name="cvae-pipe",
    help="Experiment pipelines for conditional VAEs: train, score and compare, one configuration or a sweep of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `cvae-pipe run --dataset digits`, which needs no download.",
)

EXPERIMENT = "cvae-pipe"
INTERRUPTED = 130
"""Exit code of an interruption: 128 + SIGINT, as shells have it."""
REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""A system's ways to say that it will not write: no right to, read-only, disk or quota full."""


def _examples(*lines: str) -> str:
    return "**Examples**\n\n" + "\n\n".join(f"`{line}`" for line in lines)


DATA, MODEL, TRAINING, OTHER = "Data", "Model", "Training", "Everything else"

Dataset = Annotated[str | None, typer.Option(help=f"Data set: {', '.join(DATASETS)}.", rich_help_panel=DATA)]
Model = Annotated[str | None, typer.Option(help=f"Model: {', '.join(MODELS)}.", rich_help_panel=MODEL)]
Beta = Annotated[float | None, typer.Option(help="Weight of the KL term.", rich_help_panel=TRAINING)]
LatentDim = Annotated[int | None, typer.Option(help="Number of latent dimensions.", rich_help_panel=MODEL)]
Hidden = Annotated[str | None, typer.Option(help="Encoder widths, e.g. 512,256.", rich_help_panel=MODEL)]
Lr = Annotated[float | None, typer.Option("--lr", help="Adam's learning rate.", rich_help_panel=TRAINING)]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.", rich_help_panel=TRAINING)]
BatchSize = Annotated[int | None, typer.Option(help="Images per step.", rich_help_panel=TRAINING)]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, batch order and z.", rich_help_panel=TRAINING)]
Device = Annotated[str | None, typer.Option(help=f"{', '.join(DEVICES)}.", rich_help_panel=OTHER)]
Config = Annotated[Path | None, typer.Option("--config", help="TOML file of settings.", rich_help_panel=OTHER)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Any other setting; repeatable.", rich_help_panel=OTHER),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor", help="auto, local (worker processes) or population (stacked on one GPU).", rich_help_panel=OTHER
    ),
]
Audit = Annotated[
    bool | None, typer.Option("--audit", help="Add the secondary suite on test: minutes more.", rich_help_panel=OTHER)
]
Force = Annotated[bool, typer.Option("--force", help="Redo the stage even if it is up to date.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; progress goes to stderr.")]
SplitName = Annotated[str, typer.Option("--split", help="val or test.")]


@app.command(epilog=_examples("cvae-pipe prepare --dataset mnist", "cvae-pipe prepare --dataset digits"))
def prepare(dataset: Dataset = None, config: Config = None, set_: Set = None, force: Force = False) -> None:
    """Get a data set, check it and split it into train, val and test."""
    from pipeline.stages.prepare import prepare as prepare_stage

    with _session(_config(config, set_, {"data.dataset": dataset}), force={"prepare"} if force else set()) as ctx:
        data = prepare_stage(ctx)
        _say(f"{data.name}: {len(data.train):,} train, {len(data.val):,} val, {len(data.test):,} test images")
        _say(f"{data.height} x {data.width} pixels, {data.classes} classes; data SHA-256 {data.source_sha256[:16]}")
        _next(f"cvae-pipe run --dataset {data.name}")


@app.command(
    epilog=_examples("cvae-pipe train --dataset digits", "cvae-pipe train --model vae --latent-dim 2 --epochs 10")
)
def train(
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    force: Force = False,
) -> None:
    """Train one model; an interrupted training goes on where it stopped."""
    from pipeline.stages.train import train as train_stage

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    with _session(_config(config, set_, settings), force={"train"} if force else set()) as ctx:
        trained = train_stage(ctx)
        last = trained.history[-1]
        _say(", ".join(f"{key} {value:.2f}" for key, value in last.metrics.items() if key.startswith("val/")))
        _say(f"model: {trained.folder / 'model.safetensors'}")
        _next("the same options with `cvae-pipe run` evaluate, score, report and record it")


@app.command(epilog=_examples("cvae-pipe evaluate --dataset digits", "cvae-pipe evaluate --split val --json"))
def evaluate(
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    split: SplitName = "test",
    force: Force = False,
    json_: Json = False,
) -> None:
    """Measure bce, kl and neg_elbo of a configuration, training it first if need be."""
    from pipeline.stages.evaluate import evaluate as evaluate_stage

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    split = _split(split)
    with _session(_config(config, set_, settings), json_, {"evaluate"} if force else set()) as ctx:
        result = evaluate_stage(ctx, split)
        _show_metrics(result.metrics, json_, {"reconstructed": str(result.folder / "reconstructed.png")})


@app.command(epilog=_examples("cvae-pipe score --dataset digits", "cvae-pipe score --beta 4 --json"))
def score(
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    split: SplitName = "test",
    force: Force = False,
    json_: Json = False,
) -> None:
    """Score generated images: conditional accuracy, coverage, diversity; trains first if need be."""
    from pipeline.stages.score import score as score_stage

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    split = _split(split)
    with _session(_config(config, set_, settings), json_, {"score"} if force else set()) as ctx:
        result = score_stage(ctx, split)
        _show_metrics(result.metrics, json_, {"generated": str(result.folder / "generated.png")})


@app.command(epilog=_examples("cvae-pipe audit --dataset digits", "cvae-pipe audit --beta 4 --json"))
def audit(
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    split: SplitName = "test",
    force: Force = False,
    json_: Json = False,
) -> None:
    """Measure the secondary suite: likelihood bound, diversity, latent health, memorisation; takes minutes."""
    from pipeline.stages.audit import audit as audit_stage

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    with _session(_config(config, set_, settings), json_, {"audit"} if force else set()) as ctx:
        result = audit_stage(ctx, _split(split))
        _show_metrics(result.metrics, json_, {"KL per dimension": str(result.folder / "kl_per_dim.json")})


@app.command(
    epilog=_examples(
        "cvae-pipe run --dataset digits",
        "cvae-pipe run --beta 4 --latent-dim 10 --epochs 20",
        "cvae-pipe run --config reports/demo/best.toml",
        "cvae-pipe run --set train.warmup_epochs=5 --json",
    )
)
def run(
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    audit: Audit = None,
    force: Force = False,
    json_: Json = False,
) -> None:
    """All stages for one configuration, recorded in MLflow, with a report."""
    from pipeline.experiments.run import run as run_all
    from pipeline.stages.graph import STAGES

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    settings["audit.enabled"] = audit
    force_stages = {s.name for s in STAGES if not s.shared} if force else set()
    with _session(_config(config, set_, settings), json_, force_stages) as ctx:
        result = run_all(ctx, lambda: _tracker(ctx.home))
        if json_:
            _print_json(result.summary())
            return
        from pipeline.cli.terminal.preview import show_preview

        show_preview(result.outcome)
        _show_metrics(result.outcome.metrics, False, {"report": str(result.report)})
        _next("cvae-pipe ui", "cvae-pipe compare RUN RUN", "cvae-pipe sweep --trials 40")


@app.command(
    epilog=_examples(
        "cvae-pipe sweep --trials 40",
        "cvae-pipe sweep --dataset digits --trials 12 --epochs 30 --name quick",
        "cvae-pipe sweep --trials 40 --prefer 'accuracy>=.99' --prefer 'coverage_relative>=.95'",
        "cvae-pipe sweep --objective neg_elbo --pruner median --trials 40",
        "cvae-pipe sweep --space beta=0.5:8 --space latent_dim=off --set model.latent_dim=10",
    )
)
def sweep(
    trials: Annotated[int, typer.Option(help="Finished trials in the study in all; repeat to resume.")] = 40,
    name: Annotated[str | None, typer.Option(help="Name of the study; by default the data set's.")] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="Validation score to optimise; repeatable.", show_default=False)
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Range of a setting (log scale; :linear, or NAME=off); repeatable."),
    ] = None,
    dataset: Dataset = None,
    model: Model = None,
    hidden: Hidden = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one per core.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which it stops, resumable, and reports.")] = None,
    pruner: Annotated[str, typer.Option(help="none, median or halving; for one objective.")] = "none",
    final_seeds: Annotated[
        int, typer.Option(help="Seeds the candidates are re-trained with, and the choice opened on test.")
    ] = 3,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OBJECTIVE>=VALUE",
            help="Bound (>= or <=) that the choice keeps: then it is the likeliest trial that does; repeatable.",
        ),
    ] = None,
    sweep_seed: Annotated[int, typer.Option(help="Seed of the proposals and of every trial's training.")] = 0,
    window: Annotated[
        int | None,
        typer.Option(
            help="Proposal window: trial n is proposed from trials 0 .. n - WINDOW; by default 8, or 16 on a GPU."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="First seed of the re-trained choice.")] = None,
    executor: ExecutorName = "auto",
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    audit: Audit = None,
    json_: Json = False,
) -> None:
    """Search beta, latent size and learning rate; re-train the best balance; report on it."""
    from pipeline.cli.terminal.sweep import SweepDisplay
    from sweeps.driver import sweep as run_sweep
    from sweeps.execution.placement import WINDOW, executor_kind, place
    from sweeps.study.closing import Closing, preferences
    from sweeps.study.config import StudyConfig
    from sweeps.study.ledger import held_window
    from sweeps.study.objective import chosen
    from sweeps.study.space import build_space

    settings = _flags(dataset, model, None, None, hidden, None, epochs, batch_size, seed, device)
    base = _config(config, set_, settings | {"audit.enabled": audit})
    name = _study_name(name or base.data.dataset)
    with _session(base, json_) as ctx:
        kind = executor_kind(ctx, executor)
        study = StudyConfig(
            name=name,
            base=base,
            space=build_space(_space_table(config), space or ()),
            objectives=chosen(tuple(objective or ()), base.model.kind, base.sampling.prior),
            seed=sweep_seed,
            window=window if window is not None else held_window(ctx.home, name) or WINDOW[kind],
            pruner=pruner,
        )
        closing = Closing(final_seeds, preferences(prefer or (), study.objectives))
        n_workers = min(_workers(workers), study.window) if workers is None else workers
        placement = place(kind, workers=n_workers, at_once=min(study.window, trials))
        with SweepDisplay(study) as display:
            result = run_sweep(
                ctx,
                study,
                trials=trials,
                closing=closing,
                connect=lambda: _tracker(ctx.home),
                make_executor=placement.make,
                workers=placement.workers,
                timeout=timeout * 60 if timeout is not None else None,
                on_update=display.update,
            )
    if json_:
        _print_json(result.document())
        return
    display.summary(result.summary)
    if result.summary.finished < trials:
        _say(f"{result.summary.finished} of {trials} trials are finished; the same command goes on")
    _say(f"report: {result.report}")
    if result.best:
        _next(f"cvae-pipe run --config {_short(result.best)}", "cvae-pipe ui")


@app.command(epilog=_examples("cvae-pipe baselines", "cvae-pipe baselines --dataset digits --json"))
def baselines(
    dataset: Dataset = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Train ae, vae and cvae under one configuration; show them beside the MLP classifier."""
    from dataclasses import asdict

    from pipeline.cli.terminal.tables import show_table
    from pipeline.experiments.baselines import baseline_table
    from pipeline.experiments.baselines import baselines as run_baselines

    settings = _flags(dataset, None, None, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    with _session(_config(config, set_, settings), json_) as ctx:
        rows = run_baselines(ctx, lambda: _tracker(ctx.home))
    if json_:
        _print_json({"baselines": [asdict(row) for row in rows]})
        return
    show_table(baseline_table(rows))


@app.command(
    epilog=_examples(
        "cvae-pipe ablate --param beta --values 0.1,0.5,1,2,4,8 --seeds 5",
        "cvae-pipe ablate --param latent_dim --values 2,10,50 --seeds 3 --dataset digits",
    )
)
def ablate(
    param: Annotated[str, typer.Option(help="Numeric setting to vary, e.g. beta or latent_dim.")],
    values: Annotated[str, typer.Option(help="Its values, with commas between.")],
    seeds: Annotated[int, typer.Option(help="Training seeds per value; a claim needs several.")] = 5,
    name: Annotated[str | None, typer.Option(help="Name of the report; by default ablation-<dataset>-<param>.")] = None,
    dataset: Dataset = None,
    model: Model = None,
    beta: Beta = None,
    latent_dim: LatentDim = None,
    hidden: Hidden = None,
    lr: Lr = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; by default one per core.")] = None,
    executor: ExecutorName = "auto",
    device: Device = None,
    config: Config = None,
    set_: Set = None,
    audit: Audit = None,
    json_: Json = False,
) -> None:
    """Vary one setting over values and training seeds; say what it does, and how sure that is."""
    from pipeline.cli.terminal.progress import JobsDisplay
    from sweeps.ablation import ablate as run_ablation
    from sweeps.execution.placement import executor_kind, place
    from sweeps.study.ablation import AblationConfig, parse_values
    from sweeps.study.space import numeric_setting

    settings = _flags(dataset, model, beta, latent_dim, hidden, lr, epochs, batch_size, seed, device)
    base = _config(config, set_, settings | {"audit.enabled": audit})
    setting = numeric_setting(param, option="--param")
    short = setting.partition(".")[2].replace("_", "-")
    grid = AblationConfig(
        name=_study_name(name or f"ablation-{base.data.dataset}-{short}"),
        base=base,
        setting=setting,
        values=parse_values(values),
        seeds=seeds,
    )
    n_workers = _workers(workers)
    with _session(base, json_) as ctx, JobsDisplay() as display:
        result, report = run_ablation(
            ctx,
            grid,
            connect=lambda: _tracker(ctx.home),
            make_executor=place(executor_kind(ctx, executor), workers=n_workers, at_once=len(grid.cells())).make,
            on_state=display.update,
        )
    if json_:
        _print_json(result.document() | {"report": str(report)})
        return
    for claim, verdict in result.claims.items():
        _say(f"{claim}: {verdict}")
    _say(f"report: {report}")
    _next("cvae-pipe ui")


@app.command(epilog=_examples("cvae-pipe report demo", "cvae-pipe report mnist-cvae-beta1-z20-1f2e3d4c"))
def report(
    name: Annotated[str, typer.Argument(help="A study, an ablation, or a run's name or key (or the beginning).")],
) -> None:
    """Write the report of a finished study, ablation or run anew, from stored results."""
    from pipeline.experiments.run import write_run_report
    from pipeline.runs.outcome import find_run
    from sweeps.ablation import rebuild_ablation, stored_ablations
    from sweeps.driver import rebuild_report
    from sweeps.study.ledger import study_names

    home = _home()
    with _errors():
        studies, ablations = study_names(home), stored_ablations(home)
        if name in studies:
            path = rebuild_report(home, name).report
        elif name in ablations:
            path = rebuild_ablation(home, ablations[name])
        else:
            try:
                path = write_run_report(find_run(home, name), home)
            except ConfigError as error:
                known = ", ".join([*studies, *ablations]) or "none yet"
                raise ConfigError(f"{error}; studies are {known}") from None
        _say(f"report: {path}")
        _next(f"cvae-pipe verify {_short(path)}")


@app.command(epilog=_examples("cvae-pipe verify reports/demo/report.html", "cvae-pipe verify reports/demo --json"))
def verify(
    report: Annotated[Path, typer.Argument(help="A report.html, or the folder it is in.")],
    json_: Json = False,
) -> None:
    """Derive every number of a report anew from the store; exit code 1 if one has drifted."""
    from sweeps.reporting.verify import verify as verify_report

    with _errors():
        found = verify_report(_home(), report)
    if json_:
        _print_json(found.document())
    else:
        for drift in found.drifted:
            print(f"{drift.where}: shown {drift.shown}, stored {drift.stored}")
        print(f"{found.numbers} numbers re-derived, {len(found.drifted)} drifted")
    raise typer.Exit(1 if found.drifted else 0)


@app.command(
    epilog=_examples(
        "cvae-pipe compare mnist-cvae-beta1 mnist-cvae-beta4",
        "cvae-pipe compare A B C --json",
        "cvae-pipe compare A B --html",
    )
)
def compare(
    runs: Annotated[list[str], typer.Argument(help="Names or keys of runs (the beginning is enough).")],
    markdown_: Annotated[bool, typer.Option("--markdown", help="A markdown table on stdout.")] = False,
    html: Annotated[bool, typer.Option("--html", help="A report with the images side by side.")] = False,
    json_: Json = False,
) -> None:
    """Compare finished runs on the same noise, as pairs: better, worse or undecided."""
    from pipeline.cli.terminal.tables import show_comparison
    from pipeline.runs.comparison import compare_runs, markdown
    from pipeline.runs.outcome import find_run

    home = _home()
    with _errors():
        outcomes = [find_run(home, name) for name in runs]
        comparison = compare_runs(home, outcomes)
        path = None
        if html:
            from pipeline.reporting.comparison import write_comparison

            path = write_comparison(home, comparison, outcomes)
        if json_:
            _print_json(comparison.document() | ({"report": str(path)} if path else {}))
        elif markdown_:
            print(markdown(comparison))
        else:
            show_comparison(comparison)
        if path:
            _say(f"report: {path}")


@app.command(
    epilog=_examples("cvae-pipe ui", "cvae-pipe ui --open --metric coverage_relative", "cvae-pipe ui --links --json")
)
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5055,
    study: Annotated[str | None, typer.Option(help="Study whose pages are linked; by default the latest.")] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that sorts its trials.", show_default="neg_elbo")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the comparison of the trials in a web browser.")] = False,
    links_: Annotated[bool, typer.Option("--links", help="Print the addresses; start nothing.")] = False,
    json_: Json = False,
) -> None:
    """Start MLflow's web interface on the right store and print where to look."""
    from pipeline.cli.links import links
    from pipeline.tracking.serving import serve

    home = _home()
    with _errors():
        home.check_writable()
        found = links(home, EXPERIMENT, port=port, study=study, metric=metric)
        if json_:
            _print_json(found)
        elif links_:
            for name, link in found.items():
                print(f"{name}\t{link}")
        if not links_:
            page = "trials" if metric else "view"
            raise typer.Exit(serve(home, found, port=port, open_=page if open_ else "", say=_say))


# ---- what the commands share ---------------------------------------------------------------------------------------


def _flags(
    dataset: str | None,
    model: str | None,
    beta: float | None,
    latent_dim: int | None,
    hidden: str | None,
    lr: float | None,
    epochs: int | None,
    batch_size: int | None,
    seed: int | None,
    device: str | None,
) -> dict[str, Any]:
    return {
        "data.dataset": dataset,
        "model.kind": model,
        "train.beta": beta,
        "model.latent_dim": latent_dim,
        "model.hidden": hidden,
        "train.learning_rate": lr,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.seed": seed,
        "runtime.device": device,
    }


def _config(path: Path | None, sets: list[str] | None, flags: dict[str, Any]) -> RunConfig:
    return build_config(read_toml(path) if path else None, sets=sets or (), flags=flags)


def _space_table(path: Path | None) -> dict[str, Any]:
    table = read_toml(path).get("space", {}) if path else {}
    if not isinstance(table, dict):
        raise ConfigError(f"space is {table!r}; it must be a table: [space]")
    return table


def _split(name: str) -> str:
    if name not in ("val", "test"):
        raise ConfigError(f"--split is {name!r}; it must be val or test")
    return name


def _study_name(name: str) -> str:
    # File names hold 255 bytes, and an emoji is four.
    if (
        not 1 <= len(name) <= 100
        or len(name.encode()) > 200
        or name in (".", "..")
        or any(c in name for c in "/\\\0\n")
    ):
        raise StudyError(f"--name is {name!r}; it names a folder: 1 to 100 characters, no slash, no line break")
    return name


def _workers(asked: int | None) -> int:
    """How many worker processes: what was asked for, or one per core this process may use."""
    if asked is not None and asked < 1:
        raise StudyError(f"--workers is {asked}; it must be 1 or more")
    return asked or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else asked or os.cpu_count() or 1


def _home() -> Home:
    return Home.from_environment()


def _tracker(home: Home) -> "MlflowTracker":
    from pipeline.tracking import MlflowTracker

    return MlflowTracker.connect(home, EXPERIMENT, on_warning=lambda text: _say(f"warning: {text}"))


@contextmanager
def _session(config: RunConfig, json_: bool = False, force: set[str] | None = None) -> Iterator["Context"]:
    """A context for stages: what they say and their progress go to stderr."""
    with _errors():
        home = _home()
        home.check_writable()
        from pipeline.cli.terminal.progress import StageProgress
        from pipeline.runs.execute import set_up_process
        from pipeline.stages.context import Context

        set_up_process(config.runtime.threads)
        with StageProgress() as progress:
            yield Context(config, home, say=progress.say, progress=progress.update, force=force or set())


@contextmanager
def _errors() -> Iterator[None]:
    """A system's refusal to write becomes one clear line; everything else passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise CvaePipeError(f"{error.filename or 'a file'} cannot be written ({error.strerror})") from error


def _show_metrics(metrics: dict[str, float], json_: bool, paths: dict[str, str]) -> None:
    if json_:
        _print_json({"metrics": metrics, **paths})
        return
    from pipeline.cli.terminal.tables import show_metrics

    show_metrics(metrics)
    for name, path in paths.items():
        _say(f"{name}: {path}")


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=1))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _next(*commands: str) -> None:
    _say("next: " + "   or   ".join(commands))


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main() -> None:
    """The entry point: a user's mistake is one line and exit code 2, an interruption 130, a bug a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(standalone_mode=False)
    except CvaePipeError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except typer.TyperException as error:  # an unknown flag, a value of the wrong type
        if message := error.format_message():  # none where the help was shown, for want of arguments
            _say(f"error: {message.rstrip('.')}; --help lists what is allowed")
        sys.exit(2)
    except KeyboardInterrupt:  # before Typer looked
        code = INTERRUPTED
    if code == INTERRUPTED:
        _say("interrupted; what is finished is kept, and the same command goes on from there")
    sys.exit(code)


def _terminate(signum: int, frame: object) -> None:
    """A polite termination ends like Ctrl-C: runs are closed with their true status."""
    raise KeyboardInterrupt
