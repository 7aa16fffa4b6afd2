"""Commands of MLflow: its interface, with where to look in it, and what it lacks."""

from contextlib import suppress
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Experiment, Json
from pipeline.cli.session import found, refusals_in_one_line, say, session, suggest, ui_of
from pipeline.cli.terminal.waiting import slow
from pipeline.errors import ConfigError
from pipeline.evaluation.catalog import METRICS
from pipeline.store.home import Home


@examples(
    "cvae-pipe ui",
    "cvae-pipe ui --open --metric coverage_relative",
    "cvae-pipe ui --links --json",
    "cvae-pipe ui --host 0.0.0.0 --allow-host lab.example.org",
)
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5055,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in, without a password.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name that browsers may call this machine by; repeatable."),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Study or ablation whose pages are linked; by default the latest.", autocompletion=completion.studies
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Metric that sorts its trials.", show_default="neg_elbo", autocompletion=completion.metrics),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the comparison of the trials in a web browser.")] = False,
    links_: Annotated[bool, typer.Option("--links", help="Print the addresses; start nothing.")] = False,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Start MLflow's web interface on the right store and print where to look."""
    from pipeline.api import experiment_name
    from pipeline.tracking.links import SHOWS
    from pipeline.tracking.serving import serve

    home = Home.from_environment()
    with refusals_in_one_line():
        home.check_writable()
        where = experiment_name(experiment)
        with slow(say, "loading MLflow"):
            there = links(home, where, host=host, port=port, study=study, metric=metric)
        if json_:
            told = {name: {"url": link, "shows": SHOWS[name]} for name, link in there.items()}
            print_json({"experiment": where, "name": study, "links": told, **there})
        elif links_:
            for name, link in there.items():
                found(f"{name}\t{link}\t{SHOWS[name]}")
        if len(there) == 1:
            say(
                f"nothing is recorded in the experiment {where} yet; `cvae-pipe run --dataset digits` makes a first run"
            )
        if links_:
            return
        page = "trials" if metric else "view"
        raise typer.Exit(
            serve(
                home,
                there,
                {} if json_ else SHOWS,
                host=host,
                names=allow_host or (),
                port=port,
                open_=page if open_ else "",
                say=say,
                show=found if not json_ else say,
            )
        )


@examples(
    "cvae-pipe sync",
    "cvae-pipe sync demo",
    "MLFLOW_TRACKING_URI=https://mlflow.example.org cvae-pipe sync --experiment digits",
)
def sync(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Studies, ablations and runs; by default all that is here.", autocompletion=completion.things
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Go over what MLflow has as finished, too, and add what is missing of it.")
    ] = False,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Record in MLflow what it lacks of this home: after an outage, in an empty database, on another server."""
    from pipeline.api import sync as record

    with session() as progress:
        done = record(names or (), everything=all_, experiment=experiment, say=progress.say, progress=progress.update)
    if json_:
        print_json(done.document())
        return
    for name in done.recorded:
        found(f"recorded: {name}")
    skipped = f", {len(done.skipped)} could not be recorded" if done.skipped else ""
    found(f"{len(done.recorded)} runs recorded, {done.present} were there{skipped}")
    suggest(ui_of(experiment))


def links(
    home: Home,
    experiment: str,
    *,
    host: str = "127.0.0.1",
    port: int = 5055,
    study: str | None = None,
    metric: str | None = None,
) -> dict[str, str]:
    """Deep links by what they show; the first is the whole interface. Nothing needs to be running."""
    from pipeline.tracking import ui_base, ui_links
    from sweeps.finding import find

    if study:
        with suppress(ConfigError):  # what is recorded without being here: MLflow knows
            study = find(home, study, ("study", "ablation")).name
    base = ui_base(home, host, port)
    key = metric_key(metric) if metric else ""
    ascending = not key or METRICS[key.partition("/")[2]].better != "higher"
    return {"all": base} | ui_links(home, experiment, base, study=study, metric=key, ascending=ascending)


def metric_key(name: str) -> str:
    """`val/neg_elbo` as it is, `neg_elbo` as val/neg_elbo; ConfigError for what is measured nowhere."""
    split, _, quantity = name.rpartition("/")
    if quantity not in METRICS or split not in ("", "train", "val", "test"):
        raise ConfigError(f"--metric is {name!r}; it must be one of {', '.join(METRICS)}, or e.g. test/neg_elbo")
    return f"{split or 'val'}/{quantity}"
