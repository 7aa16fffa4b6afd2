"""Commands of many runs: sweep and ablate."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import completion
from pipeline.cli.answers import print_json
from pipeline.cli.help import examples
from pipeline.cli.options import (
    Audit,
    CpusPerTrial,
    DryRun,
    ExecutorName,
    Experiment,
    GpusPerTrial,
    Json,
    RayAddress,
    Sets,
    Settings,
    Workers,
    cluster_of,
    configured,
)
from pipeline.cli.plans import show_plan
from pipeline.cli.session import found, quoted, say, session, short, suggest, ui_of
from pipeline.config.sections import JUDGES
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from sweeps.study.config import StudyConfig

KEPT = "{{option}} {{value}}: {name} is searched; to keep it at one value: --space {name}=off --set {setting}={{value}}"
SEARCHED = {
    setting: KEPT.format(name=setting.partition(".")[2], setting=setting)
    for setting in ("train.beta", "model.latent_dim", "train.learning_rate")
}
"""What is searched by default -> what is said to those who give it a value."""


@examples(
    "cvae-pipe sweep --trials 40",
    "cvae-pipe sweep --dataset digits --trials 12 --epochs 30 --name quick",
    "cvae-pipe sweep --name quick --trials 24",
    "cvae-pipe sweep --name strict --trials 40 --prefer 'accuracy>=.99' --prefer 'coverage_relative>=.95'",
    "cvae-pipe sweep --name likely --objective neg_elbo --trials 40 --eta 4",
    "cvae-pipe sweep --name ten-latents --space beta=0.5:8 --space latent_dim=off --set model.latent_dim=10",
    "cvae-pipe sweep --name widths --space 'hidden=400|600,400' --space 'arch=mlp|conv'",
    "cvae-pipe sweep --name large --trials 400 --executor ray --ray-address 10.0.0.1:6379",
)
@configured(leave_out=(*SEARCHED, "train.seed"), instead=SEARCHED)
def sweep(
    trials: Annotated[int, typer.Option(help="Finished trials in the study in all; repeat to resume.")] = 40,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the study; by default the data set's. One that was begun goes on with its own settings.",
            autocompletion=completion.studies,
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="Validation score to optimise; repeatable.", show_default=False, autocompletion=completion.objectives
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH",
            help="Range of a setting (log scale; :linear), NAME=off, or values with | between; repeatable.",
            autocompletion=completion.varied,
        ),
    ] = None,
    workers: Workers = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which it stops, resumable, and reports.")] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Train failed trials again, unless their loss diverged: it would once more."
        ),
    ] = False,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="tpe, tpe-joint, sobol-tpe, sobol-gp or random; by default tpe.", autocompletion=completion.samplers
        ),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            help="pareto stops trials early, none trains every trial to its end; by default pareto.",
            autocompletion=completion.pruners,
        ),
    ] = None,
    eta: Annotated[
        int | None, typer.Option(help="At a rung the best 1/ETA of the trials go on; by default a third.")
    ] = None,
    first_rung: Annotated[
        int | None,
        typer.Option(help="Epochs of the first rung, ETA times as many at the next; by default there are two rungs."),
    ] = None,
    final_seeds: Annotated[
        int | None,
        typer.Option(help="Seeds the candidates are re-trained with, and the choice opened on test; by default 3."),
    ] = None,
    judges: Annotated[
        int | None, typer.Option(help=f"Judges of how many seeds read the choice on test; by default {JUDGES}.")
    ] = None,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OBJECTIVE>=VALUE",
            help="Bound (>= or <=) that the choice keeps: then it is the likeliest trial that does; repeatable.",
        ),
    ] = None,
    sweep_seed: Annotated[
        int | None, typer.Option(help="Seed of the proposals and of every trial's training; by default 0.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Proposal window: trial n is proposed from trials 0 .. n - WINDOW; by default 4, or 16 on a GPU."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="First seed of the re-trained choice."), Sets("train.seed")] = None,
    *,
    config: RunConfig,
    given: Settings,
    space_table: dict[str, Any],
    executor: ExecutorName = "auto",
    ray_address: RayAddress = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    audit: Audit = None,
    experiment: Experiment = None,
    dry_run: DryRun = False,
    json_: Json = False,
) -> None:
    """Search beta, latent size and learning rate; re-train the best balance; report on it."""
    from pipeline import api

    cluster = cluster_of(executor, ray_address, cpus_per_trial, gpus_per_trial)
    called = name or config.data.name
    asked: dict[str, Any] = {"seed": sweep_seed, "window": window, "sampler": sampler, "pruner": pruner, "eta": eta}
    asked |= {"first_rung": first_rung}
    if held := api.held_study(called):
        study = api.continue_study(
            held,
            {setting: one.value for setting, one in given.items()},
            instead=_instead(called, trials),
            space=space or (),
            space_table=space_table,
            objectives=objective or (),
            **asked,
        )
    else:
        study = api.study(
            config,
            name=name,
            space=space or (),
            space_table=space_table,
            objectives=objective or (),
            executor=executor,
            cluster=cluster,
            **{option: value for option, value in asked.items() if value is not None},
        )
    _say_replaced(study, given)
    closing: dict[str, Any] = {"final_seeds": final_seeds, "prefer": prefer, "judges": judges}
    if dry_run:
        show_plan(api.plan_sweep(study, trials=trials, workers=workers, **closing), json_=json_)
        return
    api.checked_closing(study, trials=trials, workers=workers, timeout=timeout, **closing)  # before anything is loaded
    from pipeline.cli.terminal.sweep import SweepDisplay

    with session() as progress, SweepDisplay(study) as display:
        result = api.sweep(
            study,
            trials=trials,
            workers=workers,
            executor=executor,
            cluster=cluster,
            timeout=timeout,
            retry_failed=retry_failed,
            experiment=experiment,
            say=progress.say,
            progress=progress.update,
            on_update=display.update,
            **closing,
        )
    if json_:
        print_json(result.document())
        return
    display.summary(result.summary)
    if result.summary.finished < trials:
        say(f"{result.summary.finished} of {trials} trials are finished; the same command goes on")
    found(f"report: {short(result.report)}")
    more = f"cvae-pipe sweep --name {shlex.quote(study.name)} --trials {2 * max(trials, result.summary.finished)}"
    suggest(*([f"cvae-pipe run --config {quoted(result.best)}"] if result.best else ()), ui_of(experiment), more)


def _instead(name: str, trials: int) -> str:
    """What to type where a study of that name has other settings: to go on with it, or to begin another."""
    from pipeline.api import free_study_name

    again = f"cvae-pipe sweep --name {shlex.quote(name)} --trials {trials}"
    words, other = sys.argv[1:], free_study_name(name)
    for i, word in enumerate(words):
        if word == "--name" or word.startswith("--name="):
            del words[i : i + (1 if "=" in word else 2)]
            break
    return f"to go on with it: {again}   or, to begin another: {shlex.join(['cvae-pipe', *words, '--name', other])}"


def _say_replaced(study: "StudyConfig", given: Settings) -> None:
    """What was given for a setting that is searched has no say: an entry of --set is refused, a file's value told."""
    from pipeline.api import replaced_by_search

    replaced = replaced_by_search(study, {setting: one.value for setting, one in given.items()})
    for setting in replaced:
        if given[setting].source == "--set":
            short = setting.partition(".")[2]
            raise ConfigError(
                f"--set {setting}={given[setting].value}: {short} is searched; to keep it at that value, add --space "
                f"{short}=off"
            )
    if replaced:
        said = ", ".join(f"{setting} {given[setting].value}" for setting in replaced)
        files = ", ".join(dict.fromkeys(given[setting].source for setting in replaced))
        kept = next(iter(replaced))
        say(
            f"note: {said} of {files} {'is' if len(replaced) == 1 else 'are'} replaced by the search; "
            f"--space {kept.partition('.')[2]}=off keeps one"
        )


@examples(
    "cvae-pipe ablate --param beta --values 0.1,0.5,1,2,4,8 --seeds 5",
    "cvae-pipe ablate --param latent_dim --values 2,10,50 --seeds 3 --dataset digits",
)
@configured()
def ablate(
    param: Annotated[
        str,
        typer.Option(help="Numeric setting to vary, e.g. beta or latent_dim.", autocompletion=completion.varied),
    ],
    values: Annotated[str, typer.Option(help="Its values, with commas between.")],
    seeds: Annotated[int, typer.Option(help="Training seeds per value; a claim needs several.")] = 5,
    judges: Annotated[int, typer.Option(help="Judges of how many seeds read every model.")] = JUDGES,
    name: Annotated[str | None, typer.Option(help="Name of the report; by default ablation-DATASET-PARAM.")] = None,
    workers: Workers = None,
    *,
    config: RunConfig,
    given: Settings,
    executor: ExecutorName = "auto",
    ray_address: RayAddress = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    audit: Audit = None,
    experiment: Experiment = None,
    dry_run: DryRun = False,
    all_: Annotated[bool, typer.Option("--all", help="Print the means of every metric.")] = False,
    json_: Json = False,
) -> None:
    """Vary one setting over values and training seeds; say what it does, and how sure that is."""
    from pipeline import api

    cluster = cluster_of(executor, ray_address, cpus_per_trial, gpus_per_trial)
    grid = api.grid(config, param, values, seeds=seeds, judges=judges, name=name)
    if one := given.get(grid.setting):
        if one.source.startswith("--"):
            raise ConfigError(f"{one.source} {one.value}: {grid.setting} is what --param varies; leave it out")
        say(f"note: {grid.setting} {one.value} of {one.source} is replaced by --values")
    if dry_run:
        show_plan(api.plan_ablation(grid, workers=workers), json_=json_)
        return
    from pipeline.cli.terminal.progress import JobsDisplay

    with session() as progress, JobsDisplay() as display:
        result, report = api.ablate(
            grid,
            workers=workers,
            executor=executor,
            cluster=cluster,
            experiment=experiment,
            say=progress.say,
            progress=progress.update,
            on_state=display.update,
        )
    if json_:
        from sweeps.reporting.documents import ablation_document

        print_json(ablation_document(result, report))
        return
    from pipeline.cli.terminal.ablation import ablation_lines
    from pipeline.cli.terminal.tables import width

    for line in ablation_lines(result, width(), everything=all_):
        print(line)
    found(f"report: {short(report)}")
    suggest(f"cvae-pipe verify {shlex.quote(grid.name)}", ui_of(experiment))
