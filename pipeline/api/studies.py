"""Studies and ablations: what is searched, carried out, found again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.api.opening import (
    LOADING,
    Progress,
    Say,
    busy,
    connect,
    experiment_name,
    open_context,
    silent,
    worker_count,
    working,
)
from pipeline.api.runs import look
from pipeline.config.reading import identified
from pipeline.config.sections import JUDGES
from pipeline.config.settings import RunConfig
from pipeline.store.home import Home

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.analysis.summary import Summary
    from sweeps.analysis.trends import Ablation
    from sweeps.execution.cluster import Cluster
    from sweeps.progress import SweepView
    from sweeps.study.ablation import AblationConfig
    from sweeps.study.closing import Closing
    from sweeps.study.config import StudyConfig

FINAL_SEEDS = 3
"""Seeds that the candidates of a study are re-trained with, where nobody says how many."""


@dataclass(frozen=True)
class Study:
    """What a study has found so far."""

    summary: "Summary"
    report: Path
    """The html report."""
    best: Path | None = None
    """best.toml: the choice, ready for `cvae-pipe run --config`."""
    run_id: str = ""
    """MLflow's id, where the study was driven by this call."""

    @property
    def trials(self) -> "pd.DataFrame":
        """A row per trial: number, state, settings, validation metrics without their split, seconds."""
        return self.summary.frame

    @property
    def front(self) -> tuple[int, ...]:
        """Numbers of the trials that no other beats in every objective."""
        return self.summary.front

    @property
    def choice(self) -> RunConfig | None:
        """The configuration of the chosen trial; None while no trial is complete."""
        return None if self.summary.chosen is None else self.summary.chosen_config

    def document(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        from sweeps.analysis.summary import SweepResult
        from sweeps.reporting.documents import study_document

        return study_document(SweepResult(self.summary, self.report, self.best, self.run_id))

    def _repr_html_(self) -> str:
        """What a notebook shows: the choice, the front, images."""
        from sweeps.reporting.notebook import study_html

        return study_html(self.summary, self.report)


def study(
    config: RunConfig,
    *,
    name: str | None = None,
    space: Iterable[str] = (),
    space_table: Mapping[str, Any] | None = None,
    objectives: Iterable[str] = (),
    seed: int = 0,
    window: int | None = None,
    sampler: str | None = None,
    pruner: str | None = None,
    eta: int = 3,
    first_rung: int | None = None,
    executor: str = "auto",
    cluster: "Cluster | None" = None,
    home: Home | None = None,
) -> "StudyConfig":
    """What makes a study: `space` entries as on the command line ("beta=0.5:8", "latent_dim=off"), objectives by
    name (by default those of the model), the name by default the data set's.

    A study that was begun keeps its window, sampler and pruner where they are not given again. `sampler` is a row of
    `sweeps.study.samplers.SAMPLERS`, by default tpe; `pruner` is pareto (the default)
    or none; `eta` and `first_rung` (epochs) place its rungs. With the executor ray, which joins the `cluster`, a new
    study's window is as wide as the cluster has room for trials.
    """
    from pipeline.runs.names import refuse_reserved
    from sweeps.study.config import DEFAULT_SAMPLER, MEMORY, StudyConfig, checked_name
    from sweeps.study.dependence import check_searched
    from sweeps.study.objective import chosen
    from sweeps.study.reading import held_config
    from sweeps.study.space import build_space

    refuse_reserved(name := checked_name(name or config.data.name))
    held = held_config(home or Home.from_environment(), name)
    made = StudyConfig(
        name=name,
        base=config,
        space=build_space(dict(space_table or {}), tuple(space)),
        objectives=chosen(tuple(objectives), config.model.kind, config.sampling.prior),
        seed=seed,
        window=window if window is not None else held.window if held else 1,
        sampler=sampler or (held.sampler if held else DEFAULT_SAMPLER),
        pruner=pruner or (held.pruner if held else "pareto"),
        eta=eta,
        first_rung=first_rung,
        memory=held.memory if held else MEMORY,
    )
    if not held:
        check_searched(made)
    if window is not None or held:
        return made
    from sweeps.execution.kinds import default_window, executor_kind  # last: where there is a GPU it loads torch

    return replace(made, window=default_window(executor_kind(config, executor), cluster))


def held_study(name: str, *, home: Home | None = None) -> "StudyConfig | None":
    """What a study was started with, by its exact name; None if there is no such study with a trial. `sweep` goes on
    with it."""
    from sweeps.finding import study_names

    home = home or Home.from_environment()
    if name not in study_names(home):
        return None
    from sweeps.study.reading import held_config

    return held_config(home, name)


def continue_study(
    held: "StudyConfig",
    settings: Mapping[str, Any] | None = None,
    *,
    instead: str = "",
    space: Iterable[str] = (),
    space_table: Mapping[str, Any] | None = None,
    objectives: Iterable[str] = (),
    **asked: Any,
) -> "StudyConfig":
    """A study that was begun, as it is. `settings`, `space`, `objectives` and what else `study` takes, as far as they
    are given, must be its own: StudyError with the differences, and `instead`, otherwise. How it runs (device, threads,
    gates) may be said anew."""
    from sweeps.study.continuing import continued
    from sweeps.study.objective import chosen
    from sweeps.study.space import build_space

    settings = identified(settings or {}, look)  # a folder of that name may hold other images
    base = held.base.with_settings(settings)
    names, entries = tuple(objectives), tuple(space)
    return continued(
        held,
        settings,
        instead=instead,
        space=build_space(dict(space_table or {}), entries) if entries or space_table else None,
        objectives=chosen(names, base.model.kind, base.sampling.prior) if names else None,
        **asked,
    )


def free_study_name(name: str, *, home: Home | None = None) -> str:
    """That name with the first number behind it that no study has."""
    from sweeps.finding import study_names

    taken = set(study_names(home or Home.from_environment()))
    return next(free for n in range(2, len(taken) + 3) if (free := f"{name}-{n}") not in taken)


def replaced_by_search(study: "StudyConfig", settings: Mapping[str, Any]) -> dict[str, Any]:
    """Which of these settings a study searches, so that their values have no say."""
    from sweeps.study.continuing import replaced_by_search as replaced

    return replaced(study, settings)


def sweep(
    study: "StudyConfig",
    *,
    trials: int = 40,
    final_seeds: int | None = None,
    prefer: Iterable[str] | None = None,
    judges: int | None = None,
    workers: int | None = None,
    executor: str = "auto",
    cluster: "Cluster | None" = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = silent,
    progress: Progress = silent,
    on_update: "Callable[[SweepView], None]" = silent,
) -> Study:
    """`trials` finished trials in all, the choice made among candidates re-trained from `final_seeds` seeds and opened
    on test, the report.

    `prefer` holds bounds that the choice keeps where a trial of the front does, such as "accuracy>=.99": then it is the
    likeliest that does. The choice is read on test by judges of as many seeds as `judges` says. These three are by
    default what the study was last closed with; of a new one 3 seeds, no bounds, 3 judges. A repeated call does what is
    left of it. `workers` is by default one per core, or as many as a cluster has room for; `timeout` is in minutes.
    `retry_failed` trains trials again that failed through no fault of their settings.
    """
    home = home or Home.from_environment()
    seconds = timeout * 60 if timeout is not None else None
    asked: dict[str, Any] = {"final_seeds": final_seeds, "prefer": prefer, "judges": judges}
    closing = checked_closing(study, trials=trials, workers=workers, timeout=timeout, home=home, **asked)
    from sweeps.finished import finished  # here: it loads pandas

    if not retry_failed and (
        there := finished(home, study, trials=trials, closing=closing, experiment=experiment_name(experiment))
    ):
        say(f"{there.summary.finished} finished, {trials} asked: nothing to do")
        return Study(there.summary, there.report, there.best, there.run_id)
    with busy(progress, LOADING):
        from sweeps.driver import sweep as drive
        from sweeps.execution.cluster import Cluster
        from sweeps.execution.kinds import executor_kind
        from sweeps.execution.placement import on_cluster, place, trained_alone

        ctx = open_context(study.base, home, say=say, progress=progress)
    kind = executor_kind(study.base, executor)
    n_workers = min(worker_count(None), study.window) if workers is None else workers
    if said := trained_alone(kind, study.base, study.space):
        say(said)
    if kind == "ray":
        placement = on_cluster(
            ctx,
            cluster or Cluster(),
            workers=workers,
            most=study.window,
            why=f"the study's window being {study.window}",
        )
    else:
        placement = place(kind, workers=n_workers, at_once=min(study.window, trials))
    with working(ctx.home, f"sweep {study.name}"):
        result = drive(
            ctx,
            study,
            trials=trials,
            closing=closing,
            connect=lambda: connect(ctx.home, experiment, say=say),
            make_executor=placement.make,
            workers=placement.workers,
            timeout=seconds,
            retry_failed=retry_failed,
            on_update=on_update,
        )
    if result.summary.finished > trials:
        say(f"{result.summary.finished} finished, {trials} asked: nothing to train")
    return Study(result.summary, result.report, result.best, result.run_id)


def checked_closing(
    study: "StudyConfig",
    *,
    trials: int,
    final_seeds: int | None = None,
    prefer: Iterable[str] | None = None,
    judges: int | None = None,
    workers: int | None = None,
    timeout: float | None = None,
    home: Home | None = None,
) -> "Closing":
    """How `sweep` would bring a study to its end; StudyError for amounts that it would refuse. Loads nothing heavy."""
    from sweeps.study.config import check_amounts

    check_amounts(study, trials=trials, workers=workers, timeout=None if timeout is None else timeout * 60)
    return closing_of(home or Home.from_environment(), study, final_seeds, prefer, judges)


def closing_of(
    home: Home, study: "StudyConfig", final_seeds: int | None, prefer: Iterable[str] | None, judges: int | None
) -> "Closing":
    """How a study is to be closed: as asked, else as it was the last time, else as studies are by default."""
    from sweeps.study.closing import CLOSING, Closing, preferences, recorded_closing
    from sweeps.study.reading import stored_studies

    last = Closing(FINAL_SEEDS, (), JUDGES)
    begun = stored_studies(home).get(study.name)
    if begun and CLOSING in begun.user_attrs:
        last = recorded_closing(begun, study.objectives)
    return Closing(
        last.final_seeds if final_seeds is None else final_seeds,
        last.preferences if prefer is None else preferences(tuple(prefer), study.objectives),
        last.judges if judges is None else judges,
    )


def load_study(name: str, *, home: Home | None = None) -> Study:
    """A study from its ledger and the store, by its name, the beginning of it, or its report; ConfigError if there is
    none."""
    from sweeps.finding import find

    home = home or Home.from_environment()
    name = find(home, name, ("study",)).name
    from sweeps.stored import stored_summary

    folder = home.reports / name
    best = folder / "best.toml"
    return Study(stored_summary(home, name), folder / "report.html", best if best.exists() else None)


def grid(
    config: RunConfig,
    param: str,
    values: str | Iterable[float],
    *,
    seeds: int = 5,
    judges: int = JUDGES,
    name: str | None = None,
) -> "AblationConfig":
    """What makes an ablation: one numeric setting ("beta", "train.beta"), its values, training seeds for each, and the
    judges of how many seeds read every model."""
    from pipeline.runs.names import refuse_reserved
    from sweeps.study.ablation import AblationConfig, parse_values
    from sweeps.study.config import checked_name
    from sweeps.study.space import numeric_setting

    setting = numeric_setting(param, option="--param")
    short = setting.partition(".")[2].replace("_", "-")
    refuse_reserved(name := checked_name(name or f"ablation-{config.data.name}-{short}"))
    return AblationConfig(
        name=name,
        base=config.with_settings({"panel.judges": max(judges, config.panel.judges)}),
        setting=setting,
        values=parse_values(values) if isinstance(values, str) else tuple(values),
        seeds=seeds,
    )


def ablate(
    grid: "AblationConfig",
    *,
    workers: int | None = None,
    executor: str = "auto",
    cluster: "Cluster | None" = None,
    home: Home | None = None,
    experiment: str | None = None,
    say: Say = silent,
    progress: Progress = silent,
    on_state: Callable[[str, str], None] = silent,
) -> "tuple[Ablation, Path]":
    """Every cell of the grid trained and opened on test, and the report; repeating the call does what is left."""
    from sweeps.ablation import ablate as drive
    from sweeps.execution.cluster import Cluster
    from sweeps.execution.kinds import executor_kind
    from sweeps.execution.placement import on_cluster, place, trained_alone

    kind, n_workers, cells = executor_kind(grid.base, executor), worker_count(workers), len(grid.cells())
    if said := trained_alone(kind, grid.base):
        say(said)
    ctx = open_context(grid.base, home, say=say, progress=progress)
    if kind == "ray":
        placement = on_cluster(ctx, cluster or Cluster(), workers=workers, most=cells, why=f"there being {cells} cells")
    else:
        placement = place(kind, workers=n_workers, at_once=cells)
    with working(ctx.home, f"ablate {grid.name}"):
        return drive(
            ctx,
            grid,
            connect=lambda: connect(ctx.home, experiment, say=say),
            make_executor=placement.make,
            on_state=on_state,
        )
