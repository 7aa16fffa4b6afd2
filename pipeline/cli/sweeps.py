"""Commands of many runs: sweep and ablate."""

from typing import Annotated, Any

import typer

from pipeline.cli.options import Audit, ExecutorName, Experiment, Json, Sets, Workers, configured, examples
from pipeline.cli.session import print_json, say, session, short, suggest, ui_of
from pipeline.config.sections import JUDGES
from pipeline.config.settings import RunConfig


@examples(
    "cvae-pipe sweep --trials 40",
    "cvae-pipe sweep --dataset digits --trials 12 --epochs 30 --name quick",
    "cvae-pipe sweep --trials 40 --prefer 'accuracy>=.99' --prefer 'coverage_relative>=.95'",
    "cvae-pipe sweep --objective neg_elbo --trials 40 --eta 4",
    "cvae-pipe sweep --space beta=0.5:8 --space latent_dim=off --set model.latent_dim=10",
    "cvae-pipe sweep --space 'hidden=400|600,400'",
)
@configured(leave_out=("train.beta", "model.latent_dim", "train.learning_rate", "train.seed"))
def sweep(
    trials: Annotated[int, typer.Option(help="Finished trials in the study in all; repeat to resume.")] = 40,
    name: Annotated[str | None, typer.Option(help="Name of the study; by default the data set's.")] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="Validation score to optimise; repeatable.", show_default=False)
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH",
            help="Range of a setting (log scale; :linear), NAME=off, or values with | between; repeatable.",
        ),
    ] = None,
    workers: Workers = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes after which it stops, resumable, and reports.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="tpe, tpe-joint, sobol-tpe, sobol-gp or random; by default tpe."),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="pareto stops trials early, none trains every trial to its end; by default pareto."),
    ] = None,
    eta: Annotated[int, typer.Option(help="At a rung the best 1/ETA of the trials go on.")] = 3,
    first_rung: Annotated[
        int | None,
        typer.Option(help="Epochs of the first rung, ETA times as many at the next; by default there are two rungs."),
    ] = None,
    final_seeds: Annotated[
        int, typer.Option(help="Seeds the candidates are re-trained with, and the choice opened on test.")
    ] = 3,
    judges: Annotated[int, typer.Option(help="Judges of how many seeds read the choice on test.")] = JUDGES,
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
            help="Proposal window: trial n is proposed from trials 0 .. n - WINDOW; by default 4, or 16 on a GPU."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="First seed of the re-trained choice."), Sets("train.seed")] = None,
    *,
    config: RunConfig,
    space_table: dict[str, Any],
    executor: ExecutorName = "auto",
    audit: Audit = None,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Search beta, latent size and learning rate; re-train the best balance; report on it."""
    from pipeline import api
    from pipeline.cli.terminal.sweep import SweepDisplay

    with session() as progress:
        study = api.study(
            config,
            name=name,
            space=space or (),
            space_table=space_table,
            objectives=objective or (),
            seed=sweep_seed,
            window=window,
            sampler=sampler,
            pruner=pruner,
            eta=eta,
            first_rung=first_rung,
            executor=executor,
        )
        with SweepDisplay(study) as display:
            found = api.sweep(
                study,
                trials=trials,
                final_seeds=final_seeds,
                prefer=prefer or (),
                judges=judges,
                workers=workers,
                executor=executor,
                timeout=timeout,
                experiment=experiment,
                say=progress.say,
                progress=progress.update,
                on_update=display.update,
            )
    if json_:
        print_json(found.document())
        return
    display.summary(found.summary)
    if found.summary.finished < trials:
        say(f"{found.summary.finished} of {trials} trials are finished; the same command goes on")
    say(f"report: {found.report}")
    if found.best:
        suggest(f"cvae-pipe run --config {short(found.best)}", ui_of(experiment))


@examples(
    "cvae-pipe ablate --param beta --values 0.1,0.5,1,2,4,8 --seeds 5",
    "cvae-pipe ablate --param latent_dim --values 2,10,50 --seeds 3 --dataset digits",
)
@configured()
def ablate(
    param: Annotated[str, typer.Option(help="Numeric setting to vary, e.g. beta or latent_dim.")],
    values: Annotated[str, typer.Option(help="Its values, with commas between.")],
    seeds: Annotated[int, typer.Option(help="Training seeds per value; a claim needs several.")] = 5,
    judges: Annotated[int, typer.Option(help="Judges of how many seeds read every model.")] = JUDGES,
    name: Annotated[str | None, typer.Option(help="Name of the report; by default ablation-<dataset>-<param>.")] = None,
    workers: Workers = None,
    *,
    config: RunConfig,
    executor: ExecutorName = "auto",
    audit: Audit = None,
    experiment: Experiment = None,
    json_: Json = False,
) -> None:
    """Vary one setting over values and training seeds; say what it does, and how sure that is."""
    from pipeline import api
    from pipeline.cli.terminal.progress import JobsDisplay

    grid = api.grid(config, param, values, seeds=seeds, judges=judges, name=name)
    with session() as progress, JobsDisplay() as display:
        result, report = api.ablate(
            grid,
            workers=workers,
            executor=executor,
            experiment=experiment,
            say=progress.say,
            progress=progress.update,
            on_state=display.update,
        )
    if json_:
        print_json(result.document() | {"report": str(report)})
        return
    for claim, verdict in result.claims.items():
        say(f"{claim}: {verdict}")
    say(f"report: {report}")
    suggest(ui_of(experiment))
