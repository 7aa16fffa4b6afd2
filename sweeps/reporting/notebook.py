"""What a study shows of itself in a notebook: the choice, the front, what the choice generates."""

from pathlib import Path

from pipeline.evaluation.catalog import METRICS, show_spread
from pipeline.reporting.cautions import cautions
from pipeline.reporting.notebook import block, table
from sweeps.analysis.summary import Summary
from sweeps.reporting.cells import cells, is_headline


def study_html(summary: Summary, report: Path) -> str:
    """A study: what is chosen and what to beware of, the front, the choice on test, a grid of its images."""
    config = summary.config
    if summary.chosen is None:
        return block([f"Study {config.name}: no trial is complete yet."], "", None, report)
    row = summary.row(summary.chosen)
    settings = ", ".join(f"{d.name} {d.show(row[d.name])}" for d in config.space)
    champion = summary.champion
    said = [
        f"{summary.finished} finished trials; the {summary.kind_of_choice} one is trial {summary.chosen}: {settings}."
    ]
    said += [f"beware: {caution}" for caution in (cautions(champion) if champion else ())]
    names = [*(d.name for d in config.space), *(f"{o.name} {METRICS[o.name].arrow}" for o in config.objectives)]
    front = [(str(n), *map(str, cells(config, summary.row(n)))) for n in summary.front]
    tables = table(("trial of the front", *names), front)
    spread = {key: value for key, value in summary.final_spread().items() if is_headline(key)}
    if spread:
        head = ("on test", f"over {len(summary.finals)} seeds" if len(summary.finals) > 1 else "one seed")
        tables += table(head, [(key, show_spread(*value)) for key, value in spread.items()])
    return block(said, f"<div>{tables}</div>", champion.picture if champion else None, report)
