"""One setting varied over values and training seeds, everything else fixed: what it does, and how sure that is.

Cells of the grid go through the same executor, store and tracker as a sweep's trials. A claim rests on the spread over
training seeds: for each seed the slope of a metric over the setting, and a t-interval over seeds of that slope.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import plots, spread, stages
from pipeline.catalog import METRICS
from pipeline.config import RunConfig, digest
from pipeline.errors import ConfigError, StudyError
from pipeline.outcome import Outcome, load_outcome
from pipeline.report import Code, Figure, File, Report, Section, Table, Tile, Wall, write_report
from pipeline.run import closing, data_info, prerequisites, set_up_process
from pipeline.run_report import calibration_section, enlarged, flags, identity, real_tile
from pipeline.sources import Phrase, cited, cited_spread
from pipeline.stages import Context
from pipeline.store import MANIFEST, Home, read_json, write_json
from pipeline.tracking import RunSpec, TrackedRun, Tracker
from sweeps.executors import Executor
from sweeps.jobs import TrackedJobs
from sweeps.space import number

SHOWN = (
    "conditional_accuracy",
    "conditional_accuracy_b",
    "coverage_relative",
    "vendi_ratio",
    "conditional_accuracy_expost",
    "coverage_relative_expost",
    "pairwise_l2",
    "neg_elbo",
    "bce",
    "kl",
    "nll_iw",
)
"""Metrics of the report, where a model has them."""
ON_TILES = ("conditional_accuracy", "coverage_relative", "neg_elbo", "kl")
"""What is known of a picture on the wall."""
GRID_WIDTH = 300


@dataclass(frozen=True)
class AblationConfig:
    """The grid: one setting, its values, and the training seeds of each."""

    name: str
    base: RunConfig
    setting: str
    """section.key of a numeric setting."""
    values: tuple[float, ...]
    seeds: int

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise ConfigError(
                f"--values are {', '.join(f'{v:g}' for v in self.values)}; give two different ones or more"
            )
        if self.seeds < 1:
            raise ConfigError(f"--seeds is {self.seeds}; it must be 1 or more (5 for a claim)")
        self.cells()  # every value must be one that the setting allows

    @property
    def key(self) -> str:
        """The setting's name without its section."""
        return self.setting.partition(".")[2]

    @property
    def log(self) -> bool:
        """Whether slopes and axes are over the logarithm: where all values are above 0 and span a factor of 4."""
        return min(self.values) > 0 and max(self.values) >= 4 * min(self.values)

    def cells(self) -> dict[str, RunConfig]:
        """Every configuration by its name, seeds innermost."""
        return {
            f"{self.key}={number(value)} seed {self.base.train.seed + i}": self.base.with_settings(
                {self.setting: _whole(value), "train.seed": self.base.train.seed + i}
            )
            for value in self.values
            for i in range(self.seeds)
        }


@dataclass(frozen=True)
class Trend:
    """What a metric does as the setting grows."""

    metric: str
    slope: float
    """Mean over seeds of the least-squares slope, per unit of the setting (per e-fold where it is logarithmic)."""
    low: float
    high: float
    """95 % t-interval over seeds."""
    verdict: str
    """rises, falls or undecided."""


@dataclass(frozen=True)
class Ablation:
    """A finished grid."""

    config: AblationConfig
    frame: pd.DataFrame
    """A row per cell: the setting, seed, and every test metric without its split."""
    outcomes: Mapping[str, Outcome]
    trends: Mapping[str, Trend]

    @property
    def claims(self) -> dict[str, str]:
        """The two sentences people say of beta, each decided by two measures that must agree."""
        verdicts = {name: trend.verdict for name, trend in self.trends.items()}
        claims = {}
        if {"conditional_accuracy", "conditional_accuracy_b"} <= verdicts.keys():
            pair = {verdicts["conditional_accuracy"], verdicts["conditional_accuracy_b"]}
            claims[f"raising {self.config.key} makes more digits right (both judges)"] = _decide(pair, "rises", "falls")
        if {"coverage_relative", "vendi_ratio"} <= verdicts.keys():
            variety = {verdicts[name] for name in ("vendi_ratio", "pairwise_l2") if name in verdicts}
            other = "falls" if "falls" in variety else "rises" if variety == {"rises"} else "undecided"
            text = f"raising {self.config.key} loses diversity (coverage, and Vendi score or pairwise distance)"
            claims[text] = _decide({verdicts["coverage_relative"], other}, "falls", "rises")
        return claims

    def document(self) -> dict[str, Any]:
        """The `--json` document, less the paths; one seed has no interval, so its ends are None."""

        def plain(trend: Trend) -> dict[str, Any]:
            known = np.isfinite(trend.low)
            return asdict(trend) | {"low": trend.low if known else None, "high": trend.high if known else None}

        return {
            "name": self.config.name,
            "setting": self.config.setting,
            "values": list(self.config.values),
            "seeds": self.config.seeds,
            "trends": {name: plain(trend) for name, trend in self.trends.items()},
            "claims": self.claims,
        }


def _decide(verdicts: set[str], supporting: str, contrary: str) -> str:
    if verdicts == {supporting}:
        return "supported"
    return "contradicted" if verdicts == {contrary} else "undecided"


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def parse_values(text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--values is {text!r}; it must be numbers with commas between, e.g. 0.5,1,2,4") from None


def trends(frame: pd.DataFrame, key: str, *, log: bool) -> dict[str, Trend]:
    """The trend of every metric column; undecided with one seed, which has no spread."""
    found = {}
    for metric in frame.columns.difference([key, "seed"], sort=False):
        slopes = spread.slopes(frame[key].tolist(), frame[metric].tolist(), frame["seed"].tolist(), log=log)
        low, high = spread.t_interval(slopes)
        verdict = "rises" if low > 0 else "falls" if high < 0 else "undecided"
        found[str(metric)] = Trend(str(metric), spread.mean(slopes), low, high, verdict)
    return found


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
    executor = make_executor(ctx.home)
    jobs = TrackedJobs(ctx, tracker, executor, parent, config.name, deadline=float("inf"))
    try:
        with closing(parent):
            try:
                outcomes = jobs.run_all(config.cells(), "test", {"ablation": config.key}, on_state)
            except BaseException:
                jobs.interrupt("interrupted; repeat the command to go on")
                raise
            result = summarise_ablation(config, outcomes)
            html = write_ablation(result, ctx.home)
            parent.set_description(describe(result))
            parent.log_file(html)
            parent.log_file(html.with_name("cells.csv"))
    finally:
        executor.close()
    return result, html


def keep_definition(home: Home, config: AblationConfig) -> None:
    """Write down what the grid is, so that its report can be made again from its name."""
    held = asdict(config) | {"base": config.base.flat()}

    def make(work: Path) -> None:
        write_json(work / "definition.json", held)

    home.store.build("ablation", digest("ablation", held), make)


def stored_ablations(home: Home) -> dict[str, AblationConfig]:
    """The grids that were begun, by name; of two with one name, the later one."""
    folders = [home.store.path("ablation", key) for key in home.store.keys("ablation")]
    found = {}
    for folder in sorted(folders, key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns):
        held = read_json(folder / "definition.json")
        base = RunConfig().with_settings(held["base"])
        found[held["name"]] = AblationConfig(**held | {"base": base, "values": tuple(held["values"])})
    return found


def rebuild_ablation(home: Home, config: AblationConfig) -> Path:
    """The report of a grid anew, from stored results alone; the path of the html."""
    keys = {name: stages.run_key(cell, "test") for name, cell in config.cells().items()}
    missing = [name for name, key in keys.items() if not home.store.has("run", key)]
    if missing:
        raise StudyError(
            f"ablation {config.name} has no result for {len(missing)} of {len(keys)} cells, e.g. {missing[0]}; "
            "repeat `cvae-pipe ablate` to finish it"
        )
    return write_ablation(summarise_ablation(config, {n: load_outcome(home, key) for n, key in keys.items()}), home)


def open_parent(ctx: Context, config: AblationConfig, tracker: Tracker) -> TrackedRun:
    """The grid itself as a run: the parent of its cells."""
    values = ", ".join(f"{v:g}" for v in config.values)
    params = {**config.base.flat(), config.setting: values, "seeds": config.seeds}
    computed = {name: value for name, value in params.items() if not name.startswith("runtime.")}
    tags = {"kind": "study", "study": config.name, "dataset": config.base.data.dataset, "model": config.base.model.kind}
    return tracker.open_run(
        RunSpec(
            name=config.name,
            key=digest("ablation", config.name, config.setting, computed)[:16],
            params=params,
            tags=tags,
            dataset=data_info(ctx.config, stages.result_facts(ctx)),
        ),
        reopen=True,
    )


def summarise_ablation(config: AblationConfig, outcomes: Mapping[str, Outcome]) -> Ablation:
    """The grid as a table, with the trend of each metric."""
    rows = []
    for outcome in outcomes.values():
        metrics = {key.partition("/")[2]: value for key, value in outcome.metrics.items()}
        rows.append({config.key: outcome.config.flat()[config.setting], "seed": outcome.config.train.seed, **metrics})
    frame = pd.DataFrame(rows)
    return Ablation(config, frame, outcomes, trends(frame, config.key, log=config.log))


def describe(ablation: Ablation) -> str:
    """The parent run's description as markdown."""
    lines = [
        f"**{len(ablation.outcomes)} trainings: {ablation.config.setting} over {ablation.config.seeds} seeds.**",
        "",
    ]
    lines += [f"- {claim}: **{verdict}**" for claim, verdict in ablation.claims.items()]
    return "\n".join(lines)


def write_ablation(ablation: Ablation, home: Home) -> Path:
    """reports/<name>/: report.md, report.html, cells.csv, ablation.json; the path of the html."""
    folder = home.reports / ablation.config.name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "ablation.json", ablation.document())
    _, html = write_report(ablation_report(ablation), folder)
    return html


def ablation_report(ablation: Ablation) -> Report:
    """The whole report of an ablation."""
    config = ablation.config
    first = next(iter(ablation.outcomes.values()))
    values = ", ".join(f"{v:g}" for v in config.values)
    command = (
        f"cvae-pipe ablate --param {config.setting} --values {','.join(map(number, config.values))} "
        f"--seeds {config.seeds} --name {shlex.quote(config.name)} "
        f"{flags(config.base, leave_out=frozenset({config.setting}))}"
    )
    return Report(
        title=f"Ablation of {config.key}",
        subtitle=(
            f"{config.base.model.kind} on {config.base.data.dataset}, {config.base.train.epochs} epochs; "
            f"{config.setting} in {values}, {config.seeds} training seeds each; every number is of the test split"
        ),
        sections=(
            verdict_section(ablation),
            metrics_section(ablation),
            images_section(ablation),
            calibration_section(first),
            Section(
                "Reproduce",
                (
                    Code(command, "sh"),
                    identity(first),
                    Code(config.base.to_toml(), "toml"),
                    File("cells.csv", ablation.frame.to_csv(index=False), "cells.csv: every metric of every training"),
                ),
            ),
        ),
    )


def shown_metrics(ablation: Ablation) -> list[str]:
    """The metrics of the report that these models have."""
    return [m for m in SHOWN if m in ablation.frame.columns]


def verdict_section(ablation: Ablation) -> Section:
    """The claims with their verdicts, and the slopes they rest on."""
    unit = "e-fold" if ablation.config.log else "unit"
    claims = Table(("claim", "verdict"), tuple(ablation.claims.items()))
    rows = tuple((m, *_slope_cells(ablation, m), ablation.trends[m].verdict) for m in shown_metrics(ablation))
    slopes = Table(
        ("metric", f"slope per {unit} of {ablation.config.key}", "95 % over seeds", "verdict"),
        rows,
        caption="A slope is fitted for each training seed; the interval is Student's t over seeds.",
    )
    return Section("Verdict", (claims, slopes))


def _slope_cells(ablation: Ablation, metric: str) -> tuple[str, str]:
    """The mean slope of a metric over the setting, and its interval over seeds; a dash for one seed."""
    config, outcomes = ablation.config, list(ablation.outcomes.values())
    over = f"log {config.setting}" if config.log else config.setting

    def part(aggregate: str) -> str:
        return cited(outcomes, f"{outcomes[0].split}/{metric}", aggregate, over=over, form="+.4g")

    interval = Phrase("[", part("slope t low"), ", ", part("slope t high"), "]") if config.seeds > 1 else "-"
    return part("slope"), interval


def by_value(ablation: Ablation) -> dict[float, Sequence[Outcome]]:
    """The outcomes of each value of the setting, in order of seed."""
    groups: dict[float, list[Outcome]] = {}
    for outcome in ablation.outcomes.values():
        groups.setdefault(outcome.config.flat()[ablation.config.setting], []).append(outcome)
    return {value: sorted(groups[value], key=lambda o: o.config.train.seed) for value in sorted(groups)}


def metrics_section(ablation: Ablation) -> Section:
    """Each metric against the setting, as a figure and as a table."""
    config, shown = ablation.config, shown_metrics(ablation)
    labels = [(m, f"{m.replace('_', ' ')}{f' ({METRICS[m].unit})' if METRICS[m].unit else ''}") for m in shown]
    figure = plots.ablation(ablation.frame, (config.key, config.key.replace("_", " "), config.log), labels)
    rows = [
        (f"{value:g}", *(cited_spread(group, f"{group[0].split}/{m}") for m in shown))
        for value, group in by_value(ablation).items()
    ]
    caption = "a dot per seed; line and band: mean ± standard deviation over seeds"
    table = Table((config.key, *shown), tuple(rows), caption=f"Mean ± standard deviation over {config.seeds} seeds.")
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
                *((m, cited(outcome, key)) for m in ON_TILES if (key := f"{outcome.split}/{m}") in outcome.metrics),
            ),
            picture=Figure(
                f"grid-{i}",
                enlarged(outcome.grids["generated"], GRID_WIDTH),
                f"Images generated at {config.key} {value:g}, seed {outcome.config.train.seed}, one row per class",
            ),
        )
        for i, (value, outcome) in enumerate((v, o) for v, group in by_value(ablation).items() for o in group)
        if "generated" in outcome.grids
    )
    reference = real_tile(next(iter(ablation.outcomes.values())), GRID_WIDTH)
    caption = "Rows are classes; a column is one z, the same on every tile."
    return Section("Images", (Wall(tiles, reference, caption=caption),) if tiles else ())
