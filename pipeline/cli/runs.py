"""Commands of whole runs: run, baselines, compare."""

from typing import Annotated

import typer

from pipeline.cli.options import Audit, Force, Json, configured, examples
from pipeline.cli.session import print_json, refusals_in_one_line, say, session, show_metrics, suggest
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError, StudyError
from pipeline.store.home import Home


@examples(
    "cvae-pipe run --dataset digits",
    "cvae-pipe run --beta 4 --latent-dim 10 --epochs 20",
    "cvae-pipe run --config reports/demo/best.toml",
    "cvae-pipe run --set train.warmup_epochs=5 --json",
)
@configured()
def run(config: RunConfig, *, audit: Audit = None, force: Force = False, json_: Json = False) -> None:
    """All stages for one configuration, recorded in MLflow, with a report."""
    from pipeline import api

    with session() as progress:
        result = api.run(config, force=force, say=progress.say, progress=progress.update)
        if json_:
            print_json(result.document())
            return
        from pipeline.cli.terminal.preview import show_preview

        show_preview(result.outcome)
        for sentence in result.document()["cautions"]:
            say(f"beware: {sentence}")
        show_metrics(result.metrics, {"report": str(result.report)})
        suggest("cvae-pipe ui", "cvae-pipe compare RUN RUN", "cvae-pipe sweep --trials 40")


@examples("cvae-pipe baselines", "cvae-pipe baselines --dataset digits --json")
@configured(leave_out=("model.kind", "train.beta"))
def baselines(config: RunConfig, *, json_: Json = False) -> None:
    """Train ae, vae and cvae under one configuration; show them beside the MLP classifier."""
    from pipeline import api
    from pipeline.cli.terminal.tables import show_table
    from pipeline.experiments.baselines import baseline_table

    with session() as progress:
        rows = api.baselines(config, say=progress.say, progress=progress.update)
    if json_:
        print_json({"baselines": [row.document() for row in rows]})
        return
    show_table(baseline_table(rows))


@examples(
    "cvae-pipe compare mnist-cvae-beta1 mnist-cvae-beta4",
    "cvae-pipe compare A B C --json",
    "cvae-pipe compare A B --html",
    "cvae-pipe compare demo demo-wide --html",
)
def compare(
    runs: Annotated[list[str], typer.Argument(help="Names or keys of runs (the beginning is enough), or studies.")],
    markdown_: Annotated[bool, typer.Option("--markdown", help="A markdown table on stdout.")] = False,
    html: Annotated[bool, typer.Option("--html", help="A report with the images side by side.")] = False,
    json_: Json = False,
) -> None:
    """Compare finished runs on the same noise, as pairs; or studies: fronts, hypervolume, choices, what differs."""
    from pipeline.cli.terminal.tables import show_comparison
    from pipeline.runs.comparison import compare_runs, markdown
    from pipeline.runs.outcome import find_run

    home = Home.from_environment()
    with refusals_in_one_line():
        if _are_studies(home, runs):
            _compare_studies(home, runs, markdown_=markdown_, html=html, json_=json_)
            return
        outcomes = [find_run(home, name) for name in runs]
        comparison = compare_runs(home, outcomes)
        path = None
        if html:
            from pipeline.reporting.comparison import write_comparison  # here: drawing libraries take seconds

            path = write_comparison(home, comparison, outcomes)
        if json_:
            print_json(comparison.document() | ({"report": str(path)} if path else {}))
        elif markdown_:
            print(markdown(comparison))
        else:
            show_comparison(comparison)
        if path:
            say(f"report: {path}")


def _are_studies(home: Home, names: list[str]) -> bool:
    """Whether all of these are studies; ConfigError if some are."""
    from sweeps.study.ledger import study_names

    try:
        known = study_names(home)
    except StudyError:  # a ledger that cannot be read: runs need none
        return False
    found = [name for name in names if name in known]
    if found and len(found) < len(names):
        other = next(name for name in names if name not in known)
        raise ConfigError(f"{found[0]} is a study and {other} is none; compare studies with studies, or runs with runs")
    return bool(found)


def _compare_studies(home: Home, names: list[str], *, markdown_: bool, html: bool, json_: bool) -> None:
    from pipeline.cli.terminal.tables import show_comparison, show_table
    from pipeline.runs.comparison import markdown
    from sweeps.analysis.comparison import compare_studies

    comparison = compare_studies(home, names)
    path = None
    if html:
        from sweeps.reporting.comparison import write_study_comparison

        path = write_study_comparison(home, comparison)
    if json_:
        print_json(comparison.document() | ({"report": str(path)} if path else {}))
    elif markdown_:
        print(markdown(comparison.pairs))
    else:
        from sweeps.reporting.comparison import answer, differences, reached

        print(answer(comparison))
        show_table(reached(comparison))
        show_table(differences(comparison))
        show_comparison(comparison.pairs)
    if path:
        say(f"report: {path}")
