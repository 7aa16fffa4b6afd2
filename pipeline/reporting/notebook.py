"""What a result shows of itself in a notebook: a sentence, a table, a grid of images; and a bar for long calls.

HTML without scripts and without colours of its own, so that it is readable on a dark page, too.
"""

import base64
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.evaluation.catalog import METRICS, headlines, show
from pipeline.reporting.brief import brief
from pipeline.reporting.pictures import enlarged
from pipeline.runs.outcome import Outcome

GRID = 320
"""Pixels: the width of a grid of images."""
EVERY = 0.2
"""Seconds between two drawings of a bar."""


def run_html(outcome: Outcome, report: Path) -> str:
    """A run: its sentence and warnings, its headlines, a grid of its images, where its report is."""
    said = [line for line in brief(outcome) if not line.startswith("  ")]
    said = [line for line in said if not line.startswith("on ")]
    rows = []
    for name, standard in headlines(outcome.scores):
        other = show(outcome.scores[standard]) if standard else ""
        rows.append((f"{outcome.split}/{name} {METRICS[name].arrow}".strip(), show(outcome.scores[name]), other))
    columns = ("metric", "value", "under N(0, I)") if any(row[2] for row in rows) else ("metric", "value")
    return block(said, table(columns, [row[: len(columns)] for row in rows]), outcome.picture, report)


def block(said: Sequence[str], tables: str, picture: Path | None, report: Path) -> str:
    """Sentences, tables beside a picture, and the path of a report."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in said)
    image = ""
    if picture is not None:
        data = base64.b64encode(enlarged(picture, GRID)).decode()
        image = f'<img alt="generated images, one row per class" src="data:image/png;base64,{data}">'
    beside = f'<div style="display:flex;gap:2em;flex-wrap:wrap;align-items:flex-start">{tables}{image}</div>'
    return f"{lines}{beside}<p>report: <code>{escape(str(report))}</code></p>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text as a table; numbers stand to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row, range(len(row))))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str, column: int) -> str:
    return f'<td style="text-align:{"right" if column else "left"}">{escape(text)}</td>'


class Bar:
    """The progress of a long call in a notebook, for its `progress`: one line, which goes away when it is done.

    For a sweep it is its `on_update`, too: `sweep(what, progress=bar, on_update=bar.trials)`. Outside of a notebook it
    shows nothing.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._drawn = 0.0
        self._began: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int, note: str) -> None:
        """As `progress` is called."""
        now = time.monotonic()
        began = self._began.setdefault(what, now)
        if done >= total:
            self._began.pop(what)
            self._show("")
        elif now - self._drawn > EVERY:
            left = f", about {(now - began) / done * (total - done):.0f} s left" if done and now - began > 1 else ""
            count = f" {done}/{total}" if total > 1 else " .."
            value = f' value="{done}"' if total > 1 else ""  # without one the bar says that something goes on
            text = escape(f"{what}{count} {note}".rstrip() + left)
            self._show(f'<progress max="{total}"{value}></progress> {text}')

    def trials(self, view: Any) -> None:
        """As `on_update` of a sweep is called."""
        running = [f"trial {t.number}" for t in view.trials.values() if t.state == "running"]
        self(f"sweep {view.config.name}", view.finished, view.target, view.doing or ", ".join(running))

    def _show(self, html: str) -> None:
        try:
            from IPython.display import HTML, display
        except ImportError:
            return
        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))
