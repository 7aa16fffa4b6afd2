"""Commands of whole runs: run, baselines, compare."""

from typing import Annotated

import typer

from pipeline.cli.options import Audit, Experiment, Force, Json, configured, examples
from pipeline.cli.session import print_json, refusals_in_one_line, say, session, show_metrics, suggest, ui_of
from pipeline.config.settings import RunConfig
from pipeline.store.home import Home


@examples(
    "cvae-pipe run --dataset digits",
    "cvae-pipe run --beta 4 --latent-dim 10 --epochs 20",
    "cvae-pipe run --config reports/demo/best.toml",
    "cvae-pipe run --set train.warmup_epochs=5 --json",
)
@configured()
def run(
    config: RunConfig, *, audit: Audit = None, force: Force = False, experiment: Experiment = None, json_: Json = False
) -> None:
    """All stages for one configuration, recorded in MLflow, with a report."""
    from pipeline import api

    with session() as progress:
        result = api.run(config, experiment=experiment, force=force, say=progress.say, progress=progress.update)
        if json_:
            print_json(result.document())
            return
        from pipeline.cli.terminal.preview import show_preview

        show_preview(result.outcome)
        for sentence in result.document()["cautions"]:
            say(f"beware: {sentence}")
        show_metrics(result.metrics, {"report": str(result.report)})
        suggest(ui_of(experiment), "cvae-pipe compare RUN RUN", "cvae-pipe sweep --trials 40")


@examples("cvae-pipe baselines", "cvae-pipe baselines --dataset digits --json")
@configured(leave_out=("model.kind", "train.beta"))
def baselines(config: RunConfig, *, experiment: Experiment = None, json_: Json = False) -> None:
    """Train ae, vae and cvae under one configuration; show them beside the MLP classifier."""
    from pipeline import api
    from pipeline.cli.terminal.tables import show_table
    from pipeline.experiments.baselines import baseline_table

    with session() as progress:
        rows = api.baselines(config, experiment=experiment, say=progress.say, progress=progress.update)
    if json_:
        print_json({"baselines": [row.document() for row in rows]})
        return
    show_table(baseline_table(rows))


@examples(
    "cvae-pipe compare mnist-cvae-beta1 mnist-cvae-beta4",
    "cvae-pipe compare A B C --json",
    "cvae-pipe compare A B --html",
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

    home = Home.from_environment()
    with refusals_in_one_line():
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
