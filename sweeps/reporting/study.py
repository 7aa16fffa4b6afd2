"""The report of a study: a Summary -> a Report value, and its files. From stored results only."""

import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

from pipeline.config.flags import flags
from pipeline.evaluation.catalog import directed
from pipeline.reporting.about import data_words, day, own_settings, ran_on
from pipeline.reporting.blocks import Block, Code, Report, Section, Text
from pipeline.reporting.citation import Phrase
from pipeline.reporting.index import Card
from pipeline.reporting.sections.calibration import calibration_section
from pipeline.reporting.sections.copying import copying_section
from pipeline.reporting.sections.inside import inside_section
from pipeline.reporting.sections.reproduce import reproduce_section
from pipeline.reporting.writing import NUMBERS, write_report
from pipeline.runs.stored import finished_at
from pipeline.store.files import write_json
from pipeline.store.home import Home
from sweeps.analysis.summary import Summary
from sweeps.reporting.answer import answer, states
from sweeps.reporting.classes import per_class
from sweeps.reporting.trade_off import trade_off
from sweeps.reporting.trials import all_trials, image_wall
from sweeps.reporting.why import curves, why
from sweeps.study.space import DEFAULT_SPACE


def write_sweep_report(home: Home, summary: Summary, folder: Path) -> Path:
    """report.md, report.html, trials.csv and metrics.json; the path of the html."""
    shown = summary.champion
    date = finished_at(home, [outcome.key for outcome in (*summary.outcomes.values(), *summary.finals)])
    card = Card("study", summary.config.base.data.name, date, shown.picture if shown else None)
    _, html = write_report(sweep_report(summary), folder, card)
    write_json(folder / NUMBERS, summary.document())
    return html


def sweep_report(summary: Summary) -> Report:
    """The whole report of a study."""
    config = summary.config
    sections = [
        Section("The answer", answer(summary)),
        drawn("Image wall", image_wall, summary),
        drawn("Trade-off", trade_off, summary),
        drawn("Why", why_and_curves, summary),
        drawn("Per class", per_class, summary),
    ]
    if summary.finals:
        shown = summary.finals[0]
        sections += [copying_section(shown), inside_section(shown), calibration_section(shown)]
    sections += [Section("All trials", all_trials(summary)), _reproduce(summary)]
    return Report(
        title=f"Sweep {config.name}",
        subtitle=f"{config.base.model.title} on {config.base.data.name}, {config.base.train.epochs} epochs a trial",
        about=about_study(summary),
        sections=tuple(sections),
    )


def about_study(summary: Summary) -> tuple[tuple[str, str], ...]:
    """What was searched and for what, with which settings, when, how long, on what."""
    config = summary.config
    runs = [*summary.outcomes.values(), *summary.finals]
    busy, total = (summary.cited(f"trials/{name}", form=".1f") for name in ("busy_minutes", "minutes"))
    finished = f"{day(max(run.finished for run in runs))}; " if runs else ""
    return (
        ("searched", ", ".join(f"{d.name} {d.describe()}" for d in config.space) or "nothing"),
        ("for", f"{', '.join(directed(o.name) for o in config.objectives)}, on validation images"),
        ("settings", own_settings(config.base, leave_out=[d.setting for d in config.space])),
        *((("data", data_words(runs[0])),) if runs else ()),
        ("trials", states(summary) or "none"),
        ("finished", Phrase(finished, busy, " min of search (", total, " min of trials, side by side)")),
        *ran_on(runs),
    )


def why_and_curves(summary: Summary) -> tuple[Block, ...]:
    return (*why(summary), *curves(summary))


def drawn(title: str, blocks: Callable[[Summary], tuple[Block, ...]], summary: Summary) -> Section:
    """A section; where it cannot be made, of a study nobody thought of, one that says so: hours of training are not
    lost to a figure."""
    try:
        return Section(title, blocks(summary))
    except Exception as error:
        said = f"This section could not be made ({type(error).__name__}: {error})."
        warnings.warn(f"{title}: {said} The rest of the report is whole; please report it as a bug.", stacklevel=2)
        return Section(title, (Text(said),))


def sweep_command(summary: Summary) -> str:
    """The command that makes this study anew."""
    config = summary.config
    swept = {d.setting for d in config.space}
    off = [d.setting for d in DEFAULT_SPACE if d.setting not in swept]
    settings = config.base.flat()
    objectives = " ".join(f"--objective {o.name}" for o in config.objectives)
    space = " ".join(
        [
            *(f"--space {shlex.quote(d.entry())}" for d in config.space),
            *(f"--space {name}=off --set {name}={settings[name]}" for name in off),
        ]
    )
    words = [
        f"cvae-pipe sweep --trials {summary.finished} --name {shlex.quote(config.name)}",
        flags(config.base, leave_out=frozenset({*swept, *off, "runtime.device"})),
        objectives,
        space,
        f"--sweep-seed {config.seed} --window {config.window}",
        f"--sampler {config.sampler} --pruner {config.pruner}",
        *([f"--eta {config.eta}"] if config.pruner != "none" else ()),
        *([f"--first-rung {config.first_rung}"] if config.first_rung is not None else ()),
        f"--final-seeds {summary.closing.final_seeds} --judges {summary.closing.judges}",
        *(f"--prefer {shlex.quote(str(preference))}" for preference in summary.closing.preferences),
    ]
    return " ".join(words)


def _reproduce(summary: Summary) -> Section:
    some = next(iter((*summary.finals, *summary.outcomes.values())), None)
    chosen: tuple[Block, ...] = ()
    if summary.chosen is not None:
        chosen = (Text("The chosen configuration, as in best.toml:"), Code(summary.chosen_config.to_toml(), "toml"))
    return reproduce_section(sweep_command(summary), some, *chosen)
