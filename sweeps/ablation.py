"""Drives an ablation: one setting over values and training seeds, everything else fixed, each cell a tracked run.

Cells of the grid go through the same executor, store and tracker as a sweep's trials. A claim rests on the spread over
training seeds: on differences between values of the setting that are certain, all of them at once.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from pipeline.errors import StudyError
from pipeline.experiments.record import INTERRUPTED, closing, data_info
from pipeline.experiments.run import prerequisites
from pipeline.runs.execute import set_up_process
from pipeline.runs.outcome import Outcome, load_outcome
from pipeline.runs.stored import is_whole
from pipeline.stages.context import Context
from pipeline.stages.graph import run_key
from pipeline.stages.prepare import result_facts
from pipeline.store.home import Home
from pipeline.tracking import RunSpec, TrackedRun, Tracker
from sweeps.analysis.trends import Ablation, named_metrics, trends
from sweeps.execution.jobs import Executor
from sweeps.judges import PanelBeside
from sweeps.reporting.ablation import write_ablation
from sweeps.study.ablation import AblationConfig, ablation_key, ablation_params, keep_definition
from sweeps.tracked import TrackedJobs


def ablate(
    ctx: Context,
    config: AblationConfig,
    *,
    connect: Callable[[], Tracker],
    make_executor: Callable[[Home], Executor],
    on_state: Callable[[str, str], None] = lambda name, state: None,
) -> tuple[Ablation, Path]:
    """Every cell trained and opened on test, then the report; repeating the call does what is left. The html's path."""
    set_up_process(config.base.runtime.threads)
    prerequisites(ctx, ("test",))
    keep_definition(ctx.home, config)
    tracker = connect()
    parent = open_parent(ctx, config, tracker)
    executor, panel = make_executor(ctx.home), PanelBeside(config.base, ctx.home)
    jobs = TrackedJobs(ctx, tracker, executor, parent, config.name, float("inf"), (panel,))
    try:
        with closing(parent):
            try:
                outcomes = jobs.run_all(config.cells(), "test", {"ablation": config.key}, on_state)
            except BaseException:
                jobs.interrupt(INTERRUPTED)
                raise
            result = summarise_ablation(config, outcomes)
            html = write_ablation(result, ctx.home)
            record_ablation(parent, result, html)
    finally:
        panel.close()
        executor.close()
    return result, html


def record_ablation(parent: TrackedRun, result: Ablation, html: Path) -> None:
    """What the tracker shows of a finished grid."""
    parent.set_description(describe(result))
    parent.log_file(html)
    parent.log_file(html.with_name("cells.csv"))


def rebuild_ablation(home: Home, config: AblationConfig) -> Path:
    """The report of a grid anew, from stored results alone; the path of the html."""
    return write_ablation(summarise_ablation(config, stored_cells(home, config)), home)


def stored_cells(home: Home, config: AblationConfig) -> dict[str, Outcome]:
    """Every cell from the store; StudyError if one is missing."""
    keys = {name: run_key(cell, "test") for name, cell in config.cells().items()}
    missing = [name for name, key in keys.items() if not is_whole(home, key)]
    if missing:
        raise StudyError(
            f"ablation {config.name} has no result for {len(missing)} of {len(keys)} cells, e.g. {missing[0]}; "
            "repeat `cvae-pipe ablate` to finish it"
        )
    return {name: load_outcome(home, key) for name, key in keys.items()}


def open_parent(
    ctx: Context, config: AblationConfig, tracker: Tracker, *, reopen: bool = True, started: float | None = None
) -> TrackedRun:
    """The grid itself as a run: the parent of its cells."""
    tags = {"kind": "study", "study": config.name, "dataset": config.base.data.name, "model": config.base.model.kind}
    return tracker.open_run(
        RunSpec(
            name=config.name,
            key=ablation_key(config),
            params=ablation_params(config),
            tags=tags,
            dataset=data_info(ctx.config, result_facts(ctx)),
            started=started,
            ended=("KILLED", INTERRUPTED),
        ),
        reopen=reopen,
    )


def summarise_ablation(config: AblationConfig, outcomes: Mapping[str, Outcome]) -> Ablation:
    """The grid as a table, with what each metric does."""
    rows = []
    for outcome in outcomes.values():
        setting = outcome.config.flat()[config.setting]
        rows.append({config.key: setting, "seed": outcome.config.train.seed, **outcome.scores})
    frame = pd.DataFrame(rows)
    return Ablation(config, frame, outcomes, trends(frame, config.key, named_metrics(list(frame.columns))))


def describe(ablation: Ablation) -> str:
    """The parent run's description as markdown."""
    lines = [
        f"**{len(ablation.outcomes)} trainings: {ablation.config.setting} over {ablation.config.seeds} seeds.**",
        "",
    ]
    lines += [f"- {claim}: **{verdict}**" for claim, verdict in ablation.claims.items()]
    return "\n".join(lines)
