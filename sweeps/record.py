"""What MLflow shows of a sweep: names to scan, the front marked, a description, a view of the trials, the champion.

A projection of the study's summary onto the tracker; repeated, it changes what has changed. No Optuna.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pipeline.evaluation.catalog import METRICS, of_likelihood, show, show_spread
from pipeline.experiments.record import headline_rows, served_model, setting_label
from pipeline.reporting.pictures import enlarged
from pipeline.runs.outcome import Outcome
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH
from pipeline.tracking import (
    HERE,
    TABLES,
    TRAINING,
    RunsView,
    TrackedRun,
    artifact_file_url,
    artifact_url,
    model_url,
    note_table,
    registered_name,
    run_url,
    view_key,
    view_url,
)
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import cells
from sweeps.study.space import Searched
from sweeps.tracked import TrackedJobs

FRONT, CANDIDATE, CHOSEN = "front", "candidate", "chosen"
"""Tags of the trials of the Pareto front, of those that the choice was made among, and of the chosen one."""
RETRAINED, FINAL = "retrained", "final"
"""Tags of a candidate's re-trainings on validation, and of the chosen one's on test."""
PICTURE = "generated.png"
"""The champion's images among the parent's artifacts."""
PICTURE_WIDTH = 360
"""Pixels: the front is still in sight below it."""


def trial_title(number: int, params: Mapping[str, Any], space: tuple[Searched, ...]) -> str:
    """A trial's name in a table of forty: its number, then what it tried. `trial 07 · β1.6 z9 lr0.005`."""
    return f"trial {number:02d} · {' '.join(setting_label(d.setting, params[d.name]) for d in space)}"


def retraining_title(number: int, seed: int) -> str:
    return f"trial {number:02d} again, seed {seed}"


def final_title(seed: int) -> str:
    return f"final seed {seed}"


def project(jobs: TrackedJobs, summary: Summary) -> None:
    """Everything the tracker shows of the study as it is now, except its numbers and files."""
    if not jobs.parent.id:  # the tracker was away when the study was opened: a repeat shows all of it
        return
    jobs.tracker.tag_children(jobs.parent.id, (FRONT, CANDIDATE, CHOSEN), front_tags(summary))
    if summary.chosen is None:
        jobs.parent.set_description("No trial is complete yet.")
        return
    jobs.tracker.save_view(view_key(jobs.parent.id), trials_view(summary, jobs.parent.id))
    champion = summary.champion
    if champion is not None and champion.picture is not None:
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder, PICTURE)
            picture.write_bytes(enlarged(champion.picture, PICTURE_WIDTH))
            jobs.parent.log_file(picture)
    run = None if champion is None else champion_run(jobs, summary, champion)
    jobs.parent.set_description(
        describe_study(summary, jobs.tracker.experiment_id, jobs.parent.id, run.id if run else "")
    )
    if champion is not None and run is not None:
        register_champion(jobs, summary, champion, run)


def front_tags(summary: Summary) -> dict[str, dict[str, str]]:
    """Run key -> tags, for the trials of the front."""
    candidates = summary.choice.candidates if summary.choice else ()

    def tags(number: int) -> dict[str, str]:
        has = {FRONT: True, CANDIDATE: number in candidates, CHOSEN: number == summary.chosen}
        return {name: "true" for name, holds in has.items() if holds}

    return {summary.outcomes[n].key[:KEY_LENGTH]: tags(n) for n in summary.front if n in summary.outcomes}


def trials_view(summary: Summary, parent_id: str) -> RunsView:
    """The trials beside each other: what was searched against what was asked for."""
    config = summary.config
    # The last objective orders: of the default ones that is neg_elbo, which two trials hardly ever share.
    *others, first = config.objectives
    by = [first, *others]
    metrics = tuple(o.key for o in by)
    pairs = tuple((metrics[0], key) for key in metrics[1:])
    return RunsView(
        name=f"sweep {config.name}",
        parent_id=parent_id,
        split="val",
        params=tuple(d.setting for d in config.space),
        metrics=metrics,
        ascending=not first.maximise,
        pairs=(*pairs, ("val/kl", f"val/{of_likelihood('bce', config.base.model.likelihood)}")),
        tags=(FRONT, CHOSEN),
        having="trial",  # re-trainings are of validation, too, and no trials
    )


def describe_study(summary: Summary, experiment_id: str, run_id: str, champion_id: str = "") -> str:
    """The parent run in markdown: the choice, its images and test scores, the front, where to look next."""
    config = summary.config
    assert summary.chosen is not None
    row = summary.row(summary.chosen)
    settings = ", ".join(f"{d.name} {d.show(row[d.name])}" for d in config.space)
    links = {
        "report": artifact_url(HERE, experiment_id, run_id, "report.html"),
        "charts of the trials": view_url(HERE, experiment_id, run_id),
        "scores per class": view_url(HERE, experiment_id, run_id, TABLES),
        "registered model": model_url(HERE, registered_name(config.name)),
    }
    if champion_id:
        links["champion's run"] = f"{run_url(HERE, experiment_id, champion_id)}?{urlencode(TRAINING)}"
    front = "front" if len(config.objectives) > 1 else "best trial"
    lines = [
        f"**{summary.finished} finished trials; the {summary.kind_of_choice} one is trial {summary.chosen}: "
        f"{settings}.**",
        "",
        " · ".join(f"[{name}]({address})" for name, address in links.items()),
        "",
        f"![images generated by the choice]({artifact_file_url(run_id, PICTURE)})",
        "",
    ]
    others = [str(n) for n in summary.retrained if n != summary.chosen]
    if others:
        lines += [
            f"Noise over training seeds does not tell it from trial {' or '.join(others)}; it is the best of them on "
            "the means of their re-trainings.",
            "",
        ]
    spread = summary.final_spread()
    if spread:
        n = len(summary.finals)
        written = {key.partition("/")[2]: show_spread(mean, sd) for key, (mean, sd) in spread.items()}
        columns, rows = headline_rows(written, "test", "mean ± sd" if n > 1 else "value")
        lines += [f"**On test, {f'over {n} seeds' if n > 1 else 'one seed'}**", ""]
        lines += [*note_table(columns, rows), ""]
    names = [d.name.replace("_", " ") for d in config.space]
    names += [f"{o.name.replace('_', ' ')} {METRICS[o.name].arrow}" for o in config.objectives]
    on_front = [(f"**{n}**" if n == summary.chosen else str(n), *cells(config, summary.row(n))) for n in summary.front]
    lines += [f"**The {front}, on validation images**", "", *note_table(("trial", *names), on_front)]
    return "\n".join(lines)


def champion_run(jobs: TrackedJobs, summary: Summary, champion: Outcome) -> TrackedRun:
    """The tracked run of the choice, with everything that it has to show."""
    assert summary.chosen is not None
    if summary.finals:
        name, tags = final_title(champion.config.train.seed), {FINAL: "true"}
    else:
        name, tags = _title(summary), {"trial": str(summary.chosen)}
    run = jobs.open_run(champion.config, champion.split, name, tags)
    jobs.record(run, champion)  # after an outage it is not there yet
    return run


def _title(summary: Summary) -> str:
    """The chosen trial's."""
    assert summary.chosen is not None
    params = {d.name: summary.row(summary.chosen)[d.name] for d in summary.config.space}
    return trial_title(summary.chosen, params, summary.config.space)


def lacking_of(champion: Outcome, home: Home) -> Path | None:
    """A file of its model that is not in the store: it came from elsewhere without, or was removed by hand."""
    model = served_model(champion, home)
    return next((path for path in (model.weights, model.prior) if path is not None and not path.is_file()), None)


def register_champion(jobs: TrackedJobs, summary: Summary, champion: Outcome, run: TrackedRun) -> None:
    """The choice, by its run, in the model registry; not one whose model is not whole."""
    if lacking_of(champion, jobs.ctx.home):
        return
    config = summary.config
    name = final_title(champion.config.train.seed) if summary.finals else _title(summary)
    key = champion.scored("conditional_accuracy")
    scores = f"; {key} {show(champion.metrics[key])}" if key in champion.metrics else ""
    run.register_model(
        registered_name(config.name),
        served_model(champion, jobs.ctx.home),
        tags={"study": config.name, "trial": str(summary.chosen)},
        description=f"Trial {summary.chosen} of sweep {config.name}, as run {name!r}{scores}",
    )
