"""Commands of whole runs: run, baselines, compare."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Audit, DryRun, Experiment, Force, Json, configured
from pipeline.cli.plans import show_plan
from pipeline.cli.session import found, quoted, refusals_in_one_line, say, session, short, suggest, ui_of
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.runs.names import checked_label, parse_tags
from pipeline.store.home import Home

if TYPE_CHECKING:
    from pipeline.api import Run


@examples(
    "cvae-pipe run --dataset digits",
    "cvae-pipe run --beta 4 --latent-dim 10 --epochs 20",
    "cvae-pipe run --dataset path/to/letters --set data.size=32",
    "cvae-pipe run --arch conv --latent-dim 16 --batch-size 128",
    "cvae-pipe run --config reports/demo/best.toml",
    "cvae-pipe run --set train.warmup_epochs=5 --json",
    "cvae-pipe run --dataset digits --epochs 5 --name first-try --tag paper=no --note 'does it work at all'",
)
@configured()
def run(
    name: Annotated[
        str | None, typer.Option(help="What to call it; by default its data set, model and what is no default.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag in MLflow; repeatable.")] = None,
    note: Annotated[str | None, typer.Option(help="Why it is made: kept in MLflow, its report and lists.")] = None,
    *,
    config: RunConfig,
    audit: Audit = None,
    force: Force = False,
    experiment: Experiment = None,
    dry_run: DryRun = False,
    all_: Annotated[bool, typer.Option("--all", help="Print every metric, not the objectives alone.")] = False,
    json_: Json = False,
) -> None:
    """All stages for one configuration, recorded in MLflow, with a report."""
    from pipeline import api

    tags = parse_tags(tag)
    checked_label(name, tags, note)  # before anything is loaded
    if dry_run:
        show_plan(api.plan_run(config, force=force), json_=json_)
        return
    with session() as progress:
        result = api.run(
            config,
            experiment=experiment,
            force=force,
            name=name,
            tags=tags,
            note=note,
            say=progress.say,
            progress=progress.update,
        )
        if json_:
            print_json(result.document())
            return
        from pipeline.cli.terminal.preview import show_preview
        from pipeline.cli.terminal.tables import print_metrics, print_text, wide
        from pipeline.reporting.brief import brief

        show_preview(result.outcome)
        for line in brief(result.outcome, wide()):
            print_text(line)
        if all_:
            print_metrics(result.metrics)
        found(f"report: {short(result.report)}")
        suggest(ui_of(experiment), *_next(result))


def _next(result: "Run") -> list[str]:
    """What to do with a run, as it can be pasted: held against the run before it, searched around."""
    from pipeline.runs.stored import known_runs

    others = [run for run in known_runs(result.home) if run.split == "test" and run.key != result.outcome.key]
    others = [run for run in others if run.config.data.anywhere == result.config.data.anywhere]
    commands = []
    if others:
        other = max(others, key=lambda run: run.finished)
        commands.append(f"cvae-pipe compare {shlex.quote(other.name)} {shlex.quote(result.name)}")
    return [*commands, f"cvae-pipe sweep --dataset {shlex.quote(result.config.data.dataset)} --trials 40"]


@examples("cvae-pipe baselines", "cvae-pipe baselines --dataset digits --json")
@configured(leave_out=("model.kind", "train.beta"))
def baselines(
    config: RunConfig, *, experiment: Experiment = None, dry_run: DryRun = False, json_: Json = False
) -> None:
    """Train ae, vae and cvae under one configuration; show them beside the MLP classifier."""
    from pipeline import api

    if dry_run:
        show_plan(*api.plan_baselines(config), json_=json_)
        return
    from pipeline.cli.terminal.tables import print_table
    from pipeline.experiments.baselines import baseline_table
    from pipeline.experiments.baselines_report import baselines_document, baselines_path

    home = Home.from_environment()
    with session() as progress:
        rows = api.baselines(config, experiment=experiment, say=progress.say, progress=progress.update)
    if json_:
        print_json(baselines_document(home, rows))
        return
    page = baselines_path(home, rows)
    print_table(baseline_table(rows))
    found(f"report: {short(page)}")
    suggest(f"cvae-pipe verify {quoted(page.parent)}", ui_of(experiment))


@examples(
    "cvae-pipe compare mnist-cvae-beta1 mnist-cvae-beta4",
    "cvae-pipe compare A B C --json",
    "cvae-pipe compare A B --html",
    "cvae-pipe compare demo demo-wide --html",
)
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs: names, beginnings, keys, folders of reports, @last, @best (of all runs by test scores), best "
            "(the choice of the latest study); or studies.",
            autocompletion=completion.comparable,
        ),
    ],
    markdown_: Annotated[bool, typer.Option("--markdown", help="A markdown table on stdout.")] = False,
    html: Annotated[bool, typer.Option("--html", help="A report with the images side by side.")] = False,
    json_: Json = False,
) -> None:
    """Compare finished runs on the same noise, as pairs; or studies: fronts, hypervolume, choices, what differs."""
    from pipeline.runs.stored import name_in
    from sweeps.finding import find_run_key, study_names

    home = Home.from_environment()
    if json_ and markdown_:
        raise ConfigError("--json and --markdown are two forms of one answer; give one of them")
    named = [name_in(home, text) for text in runs]
    if set(named) <= set(study_names(home)):
        with refusals_in_one_line():
            _compare_studies(home, named, markdown_=markdown_, html=html, json_=json_)
        return
    keys = [find_run_key(home, name, say) for name in runs]  # known at once; what follows loads for seconds
    from pipeline.runs.comparison import compare_runs
    from pipeline.runs.outcome import load_outcome

    with refusals_in_one_line():
        outcomes = [load_outcome(home, key) for key in keys]
        comparison = compare_runs(home, outcomes)
        path = None
        if html:
            from pipeline.reporting.comparison import write_comparison  # here: drawing libraries take seconds

            path = write_comparison(home, comparison, outcomes)
        if json_:
            from pipeline.reporting.document import comparison_document

            print_json(comparison_document(outcomes, comparison, path))
            return
        if markdown_:
            from pipeline.reporting.side_by_side import markdown

            print(markdown(comparison))
        else:
            from pipeline.cli.terminal.tables import show_comparison

            show_comparison(comparison)
        if path:
            _tell(path, markdown_)


def _compare_studies(home: Home, names: list[str], *, markdown_: bool, html: bool, json_: bool) -> None:
    from sweeps.analysis.comparison import compare_studies

    comparison = compare_studies(home, names)
    path = None
    if html:
        from sweeps.reporting.comparison import write_study_comparison

        path = write_study_comparison(home, comparison)
    if json_:
        from sweeps.reporting.documents import study_comparison_document

        print_json(study_comparison_document(comparison, path))
        return
    if markdown_:
        from pipeline.reporting.side_by_side import markdown

        print(markdown(comparison.pairs))
    else:
        from pipeline.cli.terminal.tables import print_table, print_text, show_comparison
        from sweeps.reporting.comparison import answer, differences, reached

        print_text(answer(comparison))
        print_table(reached(comparison))
        print_table(differences(comparison))
        show_comparison(comparison.pairs, settings=False)
    if path:
        _tell(path, markdown_)


def _tell(path: Path, markdown_: bool) -> None:
    """Where the report is: on stdout, unless that is a markdown document."""
    (say if markdown_ else found)(f"report: {short(path)}")
