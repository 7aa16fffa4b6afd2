"""The report of an ablation: verdicts, metrics by value, images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import plots
from pipeline.evaluation.catalog import METRICS, directed
from pipeline.evaluation.statistics import FEWEST_SEEDS
from pipeline.reporting.about import data_words, day, duration, own_settings, ran_on
from pipeline.reporting.blocks import Code, Figure, File, Report, Section, Table, Tile, Wall
from pipeline.reporting.citation import Phrase, cited, cited_spread
from pipeline.reporting.index import Card
from pipeline.reporting.pictures import WALL_CAPTION, real_tile, tile_figure
from pipeline.reporting.sections.calibration import calibration_section
from pipeline.reporting.sections.reproduce import reproduce_section
from pipeline.reporting.writing import NUMBERS, write_report
from pipeline.runs.outcome import Outcome
from pipeline.runs.stored import finished_at
from pipeline.store.files import write_json
from pipeline.store.home import Home
from sweeps.analysis.trends import Ablation, Trend
from sweeps.study.ablation import ablate_command

ON_TILES = ("conditional_accuracy", "coverage_relative", "neg_elbo", "kl")
"""What is known of a picture on the wall, under the prior that is scored."""


def write_ablation(ablation: Ablation, home: Home) -> Path:
    """reports/<name>/: report.md, report.html, cells.csv, ablation.json; the path of the html."""
    folder = home.reports / ablation.config.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ablation.json", ablation.document())
    write_json(folder / NUMBERS, ablation.document())
    runs = list(ablation.outcomes.values())
    date = finished_at(home, [outcome.key for outcome in runs])
    card = Card("ablation", ablation.config.base.data.name, date, runs[0].picture)
    _, html = write_report(ablation_report(ablation), folder, card)
    return html


def ablation_report(ablation: Ablation) -> Report:
    """The whole report of an ablation."""
    config = ablation.config
    runs = list(ablation.outcomes.values())
    first = runs[0]
    values = ", ".join(f"{v:g}" for v in config.values)
    return Report(
        title=f"Ablation of {config.key}",
        subtitle=(
            f"{config.base.model.title} on {config.base.data.name}, {config.base.train.epochs} epochs; "
            "every number is of the test split"
        ),
        about=(
            ("varied", f"{config.setting} in {values}, {config.seeds} training seeds each"),
            ("settings", own_settings(config.base, leave_out=[config.setting])),
            ("data", data_words(first)),
            ("finished", f"{day(max(o.finished for o in runs))}, {duration(sum(o.seconds for o in runs))} of training"),
            *ran_on(runs),
        ),
        sections=(
            verdict_section(ablation),
            metrics_section(ablation),
            images_section(ablation),
            calibration_section(first),
            reproduce_section(
                ablate_command(config),
                first,
                Code(config.base.to_toml(), "toml"),
                File("cells.csv", ablation.frame.to_csv(index=False), "cells.csv: every metric of every training"),
            ),
        ),
    )


def verdict_section(ablation: Ablation) -> Section:
    """The claims with their verdicts, and what each metric does, step by step."""
    key, seeds = ablation.config.key, ablation.config.seeds
    claims = Table(("claim", "verdict"), tuple(ablation.claims.items()))
    groups = by_value(ablation)
    first = next(iter(ablation.trends.values()))
    ends = [(first.values[s.before], first.values[s.after]) for s in first.steps]
    rows = tuple(
        (directed(metric), trend.in_words, *(_step_cell(trend, i, groups) for i in range(len(ends))))
        for metric, trend in ablation.trends.items()
    )
    certain = (
        f"A star marks a difference that is certain: all {len(rows)} metrics and all pairs of values are asked about "
        "at once, so that with 95 % none of the stars is wrong (Tamhane's T2: Welch's t, Bonferroni). A verdict is "
        "the shape that the certain differences make."
        if seeds >= FEWEST_SEEDS
        else f"{seeds} seeds tell nothing of the spread over seeds: no difference is certain below {FEWEST_SEEDS}."
    )
    steps = Table(
        ("metric", f"as {key} grows it", *(f"{a:g} to {b:g}" for a, b in ends)),
        rows,
        caption=f"Differences of means over {seeds} seeds. {certain}",
    )
    return Section("Verdict", (claims, steps))


def _step_cell(trend: Trend, step: int, groups: Mapping[float, Sequence[Outcome]]) -> str:
    """The difference of a metric between two values of the setting, with a star where it is certain."""
    own = trend.steps[step]
    runs = [*groups[trend.values[own.before]], *groups[trend.values[own.after]]]
    found = cited(runs, f"{runs[0].split}/{trend.metric}", "second half minus first", form="+.3g")
    return Phrase(found, " *" if own.direction else "")


def by_value(ablation: Ablation) -> dict[float, Sequence[Outcome]]:
    """The outcomes of each value of the setting, in order of seed."""
    groups: dict[float, list[Outcome]] = {}
    for outcome in ablation.outcomes.values():
        groups.setdefault(outcome.config.flat()[ablation.config.setting], []).append(outcome)
    return {value: sorted(groups[value], key=lambda o: o.config.train.seed) for value in sorted(groups)}


def metrics_section(ablation: Ablation) -> Section:
    """Each metric against the setting, as a figure and as a table."""
    config, shown = ablation.config, list(ablation.trends)
    units = {m: f" ({METRICS[m].unit})" if METRICS[m].unit else "" for m in shown}
    labels = [(m, f"{m.replace('_', ' ')}{units[m]} {METRICS[m].arrow}".rstrip()) for m in shown]
    figure = plots.ablation(ablation.frame, (config.key, config.key.replace("_", " "), config.log), labels)
    groups = by_value(ablation)
    rows = tuple(
        (directed(m), *(cited_spread(group, f"{group[0].split}/{m}") for group in groups.values())) for m in shown
    )
    caption = (
        "a dot per seed; line and band: mean ± standard deviation over seeds; ↑ higher and ↓ lower is better, without "
        "an arrow neither is"
    )
    columns = ("metric", *(f"{config.key} {value:g}" for value in groups))
    table = Table(columns, rows, caption=f"Mean ± standard deviation over {config.seeds} seeds.")
    return Section("Each metric", (Figure("metrics", figure, f"Each metric against {config.key}", caption), table))


def images_section(ablation: Ablation) -> Section:
    """The grids of every value and seed on a wall."""
    config = ablation.config
    tiles = tuple(
        Tile(
            anchor=f"cell-{i}",
            title=f"{config.key} {value:g}, seed {outcome.config.train.seed}",
            values=(
                (config.key, cited(outcome, f"config/{config.setting}", form=".6g")),
                ("seed", cited(outcome, "config/train.seed", form="d")),
                *(
                    (key.partition("/")[2], cited(outcome, key))
                    for m in ON_TILES
                    if (key := outcome.scored(m)) in outcome.metrics
                ),
            ),
            picture=tile_figure(
                f"grid-{i}",
                picture,
                f"Images generated at {config.key} {value:g}, seed {outcome.config.train.seed}, one row per class",
            ),
        )
        for i, (value, outcome) in enumerate((v, o) for v, group in by_value(ablation).items() for o in group)
        if (picture := outcome.picture) is not None
    )
    reference = real_tile(next(iter(ablation.outcomes.values())))
    return Section("Images", (Wall(tiles, reference, caption=WALL_CAPTION),) if tiles else ())
