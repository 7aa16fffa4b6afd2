"""The report of a study: a Summary -> a Report value, and its files. From stored results only."""

import shlex
from pathlib import Path

from pipeline.inside_report import inside_section
from pipeline.report import (
    Block,
    Code,
    Facts,
    Figure,
    File,
    Report,
    Section,
    Table,
    Text,
    Tile,
    Wall,
    write_report,
)
from pipeline.run_report import (
    calibration_section,
    enlarged,
    flags,
    grid_figure,
    identity,
    real_tile,
)
from pipeline.sources import Phrase, cited, cited_interval, cited_spread
from pipeline.spread import rank_correlation
from pipeline.store import Home
from sweeps.sections import curves, per_class, trade_off, why
from sweeps.space import DEFAULT_SPACE
from sweeps.summary import (
    Summary,
    cells,
    is_headline,
    metric_cell,
    param_cell,
    trial_link,
)

GRID_WIDTH = 300
"""Pixels of a grid on the wall: MNIST's own, digits enlarged."""
DECIDED = 0.05
"""A rank correlation with a p-value below this is called one."""
FEWEST = 4
"""Complete trials below which nothing is said of a tendency."""


def write_sweep_report(home: Home, summary: Summary, folder: Path) -> Path:
    """report.md, report.html and trials.csv; the path of the html."""
    _, html = write_report(sweep_report(summary), folder)
    return html


def sweep_report(summary: Summary) -> Report:
    """The whole report of a study."""
    config = summary.config
    sections = [
        Section("The answer", _answer(summary)),
        Section("Image wall", _images(summary)),
        Section("Trade-off", trade_off(summary)),
        Section("Why", (*why(summary), *curves(summary))),
        per_class(summary),
    ]
    if summary.finals:
        sections += [inside_section(summary.finals[0]), calibration_section(summary.finals[0])]
    sections += [Section("All trials", _all_trials(summary)), Section("Reproduce", _reproduce(summary))]
    space = ", ".join(f"{d.name} {d.describe()}" for d in config.space)
    return Report(
        title=f"Sweep {config.name}",
        subtitle=(
            f"{config.base.model.kind} on {config.base.data.dataset}, {config.base.train.epochs} epochs a trial; "
            f"searched: {space}; objectives: {', '.join(o.name for o in config.objectives)} on validation images"
        ),
        sections=tuple(sections),
    )


# ---- the answer ----------------------------------------------------------------------------------------------------


def _answer(summary: Summary) -> tuple[Block, ...]:
    config = summary.config
    counts = [(str(state), f"trials/{state}") for state in summary.frame["state"].unique()]
    states = joined([Phrase(summary.cited(key, form="d"), f" {state}") for state, key in counts])
    if summary.chosen is None:
        return (Text(Phrase("No trial is complete yet (", states or "none was begun", ").")),)
    row = summary.row(summary.chosen)
    params = joined([Phrase(f"{d.name} ", param_cell(config, row, d)) for d in config.space])
    busy, total = (summary.cited(f"trials/{name}", form=".1f") for name in ("busy_minutes", "minutes"))
    finals = summary.finals
    facts = (
        *(
            (f"test/{o.name}", cited_spread(finals, f"test/{o.name}"))
            if finals
            else (f"val/{o.name}", metric_cell(row, o.name))
            for o in config.objectives
        ),
        ("trials", states),
        ("cost of the search", Phrase(busy, " min (", total, " min of trials)")),
    )
    chosen = Phrase("Trial ", trial_link(summary.chosen), " is the choice: ", params, ".")
    blocks: list[Block] = [Text(chosen, lead=True), Facts(facts)]
    tendency = beta_sentence(summary)
    if tendency:
        blocks.append(Text(tendency))
    if finals:
        blocks.append(_test_table(summary))
    if len(config.objectives) > 1:
        blocks.append(
            Text(
                "The choice is the trial of the Pareto front nearest to the ideal point, each axis on its physical "
                "range: accuracy from chance to the judge's own, relative coverage from 0 to that of real images, "
                "neg_elbo from a decoder that ignores z down to the entropy of the pixels."
            )
        )
    return tuple(blocks)


def joined(parts: list[Phrase], between: str = ", ") -> Phrase:
    """Phrases with commas between, their numbers still cited."""
    return Phrase(*[piece for part in parts for piece in (between, part)][1:])


def beta_sentence(summary: Summary) -> str:
    """What beta goes with in this sweep: rank correlations over the complete trials; "" where beta was not varied."""
    names = [d.name for d in summary.config.space]
    outcomes = list(summary.outcomes.values())
    if "beta" not in names or len(outcomes) < FEWEST:
        return ""
    shown = dict.fromkeys([o.name for o in summary.config.objectives] + ["kl"])
    higher: list[Phrase] = []
    lower: list[Phrase] = []
    undecided: list[Phrase] = []
    x = [outcome.config.train.beta for outcome in outcomes]
    for name in shown:
        key = f"val/{name}"
        found, p = rank_correlation(x, [outcome.metrics[key] for outcome in outcomes])
        number = cited(outcomes, key, "rank correlation", over="train.beta", form="+.2f")
        kind = undecided if p >= DECIDED else higher if found > 0 else lower
        kind.append(Phrase(f"{name} (", number, ")"))
    clauses = [
        Phrase(f"{word} ", joined(group, " and " if len(group) == 2 else ", "))
        for word, group in (("higher", higher), ("lower", lower))
        if group
    ]
    said = Phrase("goes with ", joined(clauses, " and with ")) if clauses else Phrase("goes with no clear change")
    unsure = Phrase("; undecided: ", joined(undecided)) if undecided else ""
    others = " and ".join(name for name in names if name != "beta")
    count = cited(outcomes, "val/kl", "count", form="d")
    caution = f"; {others} varied too, so cvae-pipe ablate --param beta has the last word" if others else ""
    return Phrase(
        "Over ",
        count,
        " complete trials a larger beta ",
        said,
        unsure,
        f" (rank correlations, decided at p < {DECIDED:g}){caution}.",
    )


def _test_table(summary: Summary) -> Table:
    finals = summary.finals
    seeds = tuple(f"seed {o.config.train.seed}" for o in finals)
    rows = tuple(
        (key, cited_spread(finals, key), cited_interval(finals, key), *(cited(o, key) for o in finals))
        for key in finals[0].metrics
        if is_headline(key)
    )
    return Table(
        ("test metric", "mean ± sd", "95 % over seeds", *seeds),
        rows,
        caption=(
            f"The chosen configuration re-trained from {len(finals)} seeds; the interval is Student's t over seeds. "
            "Test images were opened here for the first time; the search saw training and validation images only."
        ),
    )


# ---- the wall ------------------------------------------------------------------------------------------------------


def _images(summary: Summary) -> tuple[Block, ...]:
    blocks: list[Block] = []
    if len(summary.frame):
        first = summary.config.space[0].name if summary.config.space else "number"
        numbers = summary.frame.sort_values([first, "number"])["number"].tolist()
        some = next((o for o in (*summary.outcomes.values(), *summary.finals) if o.real), None)
        reference = real_tile(some, GRID_WIDTH) if some else None
        blocks.append(
            Wall(
                tuple(_tile(summary, int(n)) for n in numbers),
                reference,
                mark="Pareto front" if len(summary.config.objectives) > 1 else "best trial",
                caption="Rows are classes; a column is one z, the same on every tile. Numbers are of the val split.",
            )
        )
    if summary.finals:
        blocks.append(
            grid_figure(
                summary.finals[0],
                "reconstructed",
                "test images (upper rows) and their reconstructions by the chosen configuration (lower rows)",
                "Real test images and their reconstructions",
            )
        )
    return tuple(blocks)


def _tile(summary: Summary, number: int) -> Tile:
    config, row = summary.config, summary.row(number)
    outcome = summary.outcomes.get(number)
    names = dict.fromkeys([*(o.name for o in config.objectives), "kl", "bce"])
    note = ""
    path: Path | None = None
    if outcome is not None:
        path = outcome.grids.get("generated") or (
            outcome.epoch_grids[max(outcome.epoch_grids)] if outcome.epoch_grids else None
        )
        note = "chosen" if number == summary.chosen else ""
    else:
        epoch, path = summary.last_grids.get(number, (0, None))
        after = f" (images after epoch {epoch})" if path else ""
        note = f"{row['state']}{after}" + (f": {row['reason']}" if row["reason"] else "")
    alt = f"Images generated by trial {number}, one row per class"
    return Tile(
        anchor=f"trial-{number}",
        title=f"trial {number}",
        values=(
            *((d.name, param_cell(config, row, d)) for d in config.space),
            *((name, cell) for name in names if (cell := metric_cell(row, name)) != "-"),
        ),
        picture=Figure(f"trial-{number:03d}", enlarged(path, GRID_WIDTH), alt) if path else None,
        note=note,
        marked=number in summary.front,
    )


# ---- all trials ----------------------------------------------------------------------------------------------------


def _all_trials(summary: Summary) -> tuple[Block, ...]:
    config = summary.config
    columns = (
        "trial",
        "state",
        *(d.name for d in config.space),
        *(o.name for o in config.objectives),
        "seconds",
        "why",
    )
    rows = []
    for number in summary.frame["number"]:
        row = summary.row(number)
        timed = row["seconds"] == row["seconds"]
        seconds = summary.cited(f"trials/{number}/seconds", form=".1f") if timed else "-"
        reason = str(row["reason"]) or "-"
        rows.append((trial_link(number), str(row["state"]), *cells(config, row), seconds, reason))
    highlight = frozenset(i for i, n in enumerate(summary.frame["number"]) if n in summary.front)
    caption = "The Pareto front stands out. Objectives are of the val split."
    table = Table(columns, tuple(rows), caption=caption, highlight=highlight)
    return (table, File("trials.csv", summary.frame.to_csv(index=False), "trials.csv: every column"))


# ---- how to do it once more ----------------------------------------------------------------------------------------


def sweep_command(summary: Summary) -> str:
    """The command that makes this study anew."""
    config = summary.config
    swept = {d.setting for d in config.space}
    off = [d.setting for d in DEFAULT_SPACE if d.setting not in swept]
    settings = config.base.flat()
    objectives = " ".join(f"--objective {o.name}" for o in config.objectives)
    space = " ".join(
        [
            *(f"--space {d.entry()}" for d in config.space),
            *(f"--space {name}=off --set {name}={settings[name]}" for name in off),
        ]
    )
    extra = f" --pruner {config.pruner}" if config.pruner != "none" else ""
    words = [
        f"cvae-pipe sweep --trials {summary.finished} --name {shlex.quote(config.name)}",
        flags(config.base, leave_out=frozenset({*swept, *off, "runtime.device"})),
        objectives,
        space,
        f"--sweep-seed {config.seed} --window {config.window}{extra}",
    ]
    return " ".join(words)


def _reproduce(summary: Summary) -> tuple[Block, ...]:
    blocks: list[Block] = [Code(sweep_command(summary), "sh")]
    outcome = next(iter((*summary.finals, *summary.outcomes.values())), None)
    if outcome is not None:
        blocks.append(identity(outcome))
    if summary.chosen is not None:
        blocks += [Text("The chosen configuration, as in best.toml:"), Code(summary.chosen_config.to_toml(), "toml")]
    return tuple(blocks)
