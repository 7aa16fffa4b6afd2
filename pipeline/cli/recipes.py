"""Commands of the recipes: what a model is good for besides generating. Each builds what is missing before it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import Experiment, Force, Json, Settings, configured, whole_numbers
from pipeline.cli.session import found, quoted, say, session, short, suggest
from pipeline.config.sections import NOISE_LEVELS
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.store.files import read_json
from pipeline.store.home import Home

RECIPES = ("denoise", "anomalies")
"""Sections of settings that are of a recipe alone."""

OfRun = Annotated[
    str | None,
    typer.Option(
        "--run",
        help="The configuration of a finished run, of a study's choice, or of best (the latest study's choice), "
        "instead of the settings.",
        autocompletion=completion.comparable,
    ),
]


@examples("cvae-pipe denoise --dataset digits", "cvae-pipe denoise --run best --noise 10,30")
@configured()
def denoise(
    noise: Annotated[
        str, typer.Option(metavar="10,30", help="Standard deviations of the noise in per cent of black to white.")
    ] = ",".join(map(str, NOISE_LEVELS)),
    *,
    config: RunConfig,
    given: Settings,
    run: OfRun = None,
    force: Force = False,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Take noise out of test images with the model and with a Gaussian filter; dB gained, in the run's report."""
    from pipeline import api

    levels = whole_numbers("--noise", noise)
    config = _of_run(config, given, run)
    for level in levels:
        config.with_settings({"denoise.level": level})  # refused before anything is done
    with session() as progress:
        done = api.denoise(
            config, levels, experiment=experiment, force=force, say=progress.say, progress=progress.update
        )
    from pipeline.reporting.sections.denoise import denoise_section

    facts = [read_json(folder / "denoise.json") for folder in done.outcome.denoised]
    _show(done, json_, {"levels": facts}, denoise_section(done.outcome))


@examples(
    "cvae-pipe anomalies --dataset digits --held-out 3",
    "cvae-pipe anomalies --run best --held-out all",
)
@configured()
def anomalies(
    held_out: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Class that the model is trained without, or all in turn; repeatable."),
    ] = None,
    *,
    config: RunConfig,
    given: Settings,
    run: OfRun = None,
    force: Force = False,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Train without a class and find it again on test: AUROC of neg_elbo and excess bce, in the run's report."""
    from pipeline import api

    config = _of_run(config, given, run)
    asked = held_out or [str(config.anomalies.held_out)]
    with session() as progress:
        done = api.anomalies(
            config, asked, experiment=experiment, force=force, say=progress.say, progress=progress.update
        )
    from pipeline.reporting.sections.anomalies import anomalies_section

    facts = [read_json(folder / "anomalies.json") for folder in done.outcome.anomalies]
    _show(done, json_, {"held_out": facts}, anomalies_section(done.outcome))


def _of_run(config: RunConfig, given: Settings, run: str | None) -> RunConfig:
    """The configuration itself, or that of a run; ConfigError if both were given."""
    if run is None:
        return config
    recipes = {name: value for name, value in config.flat().items() if name.partition(".")[0] in RECIPES}
    if others := [told.source for name, told in given.items() if name not in recipes]:
        raise ConfigError(f"--run takes every setting from a run; leave {others[0]} out, or leave --run out")
    from pipeline.runs.stored import stored_config
    from sweeps.finding import find_run_key

    home = Home.from_environment()
    return stored_config(home.store.path("run", find_run_key(home, run, say))).with_settings(recipes)


def _show(done: Any, json_: bool, facts: dict[str, Any], section: Any) -> None:
    from pipeline.cli.terminal.tables import print_table, print_text
    from pipeline.reporting.blocks import Table, Text

    if json_:
        print_json(done.document() | {"kind": "", **facts})
        return
    for block in section.blocks:
        if isinstance(block, Table):
            print_table(block)
    for block in section.blocks:
        if isinstance(block, Text):
            print_text(str(block.text))
    found(f"report: {short(done.report)}")
    suggest(f"cvae-pipe verify {quoted(Path(done.report).parent)}")
