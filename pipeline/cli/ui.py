"""The command that opens MLflow's interface, and where to look in it."""

from contextlib import suppress
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import Json, examples
from pipeline.cli.session import print_json, refusals_in_one_line, say
from pipeline.errors import ConfigError
from pipeline.evaluation.catalog import METRICS
from pipeline.store.home import Home


@examples("cvae-pipe ui", "cvae-pipe ui --open --metric coverage_relative", "cvae-pipe ui --links --json")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5055,
    study: Annotated[
        str | None,
        typer.Option(
            help="Study or ablation whose pages are linked; by default the latest.", autocompletion=completion.studies
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric that sorts its trials.", show_default="neg_elbo")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the comparison of the trials in a web browser.")] = False,
    links_: Annotated[bool, typer.Option("--links", help="Print the addresses; start nothing.")] = False,
    json_: Json = False,
) -> None:
    """Start MLflow's web interface on the right store and print where to look."""
    from pipeline.api import EXPERIMENT
    from pipeline.tracking.serving import serve

    home = Home.from_environment()
    with refusals_in_one_line():
        home.check_writable()
        found = links(home, EXPERIMENT, port=port, study=study, metric=metric)
        if json_:
            print_json(found)
        elif links_:
            for name, link in found.items():
                print(f"{name}\t{link}")
        if not links_:
            page = "trials" if metric else "view"
            raise typer.Exit(serve(home, found, port=port, open_=page if open_ else "", say=say))


def links(
    home: Home, experiment: str, *, port: int = 5055, study: str | None = None, metric: str | None = None
) -> dict[str, str]:
    """Deep links by what they show; the first is the whole interface. Nothing needs to be running."""
    from pipeline.tracking import ui_base, ui_links
    from sweeps.finding import find

    if study:
        with suppress(ConfigError):  # what is recorded without being here: MLflow knows
            study = find(home, study, ("study", "ablation")).name
    base = ui_base(home, port=port)
    key = metric_key(metric) if metric else ""
    ascending = not key or METRICS[key.partition("/")[2]].better != "higher"
    return {"all": base} | ui_links(home, experiment, base, study=study, metric=key, ascending=ascending)


def metric_key(name: str) -> str:
    """`val/neg_elbo` as it is, `neg_elbo` as val/neg_elbo; ConfigError for what is measured nowhere."""
    split, _, quantity = name.rpartition("/")
    if quantity not in METRICS or split not in ("", "train", "val", "test"):
        raise ConfigError(f"--metric is {name!r}; it must be one of {', '.join(METRICS)}, or e.g. test/neg_elbo")
    return f"{split or 'val'}/{quantity}"
