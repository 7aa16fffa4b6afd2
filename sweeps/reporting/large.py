"""What a page shows of a study too large for one: which trials hang on its wall, and sheets of all for beside it."""

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipeline.reporting.blocks import Beside, Enclosed
from sweeps.analysis.summary import Summary

WHOLE = 100
"""Most trials that a page shows all of: some 76 kB each on MNIST."""
SHOWN = 60
"""Trials that it shows of more."""
FRONT_SHARE = 2 / 3
"""Of them from the front, if that is larger."""
PER_SHEET, COLUMNS = 100, 10
THUMBNAIL = 140
"""Pixels: half of what MNIST's grid has."""
LABEL = 14
"""Pixels, for the trial's number under its images."""


def is_large(summary: Summary) -> bool:
    """Whether a page shows some of the trials."""
    return len(summary.frame) > WHOLE


def shown_trials(summary: Summary) -> list[int]:
    """The trials that a page shows, by their first setting: all of a study of usual size; of a large one the choice,
    its candidates, the front, and others evenly along the first setting."""
    first = summary.config.space[0].name if summary.config.space else "number"
    numbers: list[int] = summary.frame.sort_values([first, "number"])["number"].astype(int).tolist()
    if not is_large(summary):
        return numbers
    named = {summary.chosen, *(summary.choice.candidates if summary.choice else ())} - {None}
    front = set(summary.front)
    taken = named | set(_evenly([n for n in numbers if n in front - named], round(SHOWN * FRONT_SHARE) - len(named)))
    taken |= set(_evenly([n for n in numbers if n not in taken | front], SHOWN - len(taken)))
    return [n for n in numbers if n in taken]


def _evenly(numbers: list[int], count: int) -> list[int]:
    if len(numbers) <= count:
        return numbers
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, max(0, count)).round().astype(int)]


def sheets(summary: Summary) -> Beside:
    """The images of every trial, small, a hundred on a sheet, in the order of their first setting."""
    first = summary.config.space[0].name if summary.config.space else "number"
    frame = summary.frame.sort_values([first, "number"])
    pictures = [(int(n), path) for n in frame["number"] if (path := picture_of(summary, int(n))) is not None]
    values = dict(zip(frame["number"].astype(int), frame[first], strict=True))
    return Beside(
        tuple(_sheets(summary, pictures, values)),
        f"Images of all {len(pictures)} trials that drew any, {PER_SHEET} on a sheet, by {first.replace('_', ' ')}: "
        "files beside this page, in images/",
    )


def _sheets(summary: Summary, pictures: list[tuple[int, Path]], values: dict[int, Any]) -> Iterator[Enclosed]:
    for start in range(0, len(pictures), PER_SHEET):
        part = pictures[start : start + PER_SHEET]
        low, high = (_shown(summary, values[n]) for n in (part[0][0], part[-1][0]))
        yield Enclosed(f"images/sheet-{start // PER_SHEET:03d}.png", f"{low} to {high}", partial(_sheet, part))


def _shown(summary: Summary, value: Any) -> str:
    return summary.config.space[0].show(value) if summary.config.space else str(value)


def _sheet(pictures: list[tuple[int, Path]]) -> bytes:
    """A sheet as PNG, a number under each picture."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * (THUMBNAIL + 4), rows * (THUMBNAIL + LABEL + 4)), 255)
    draw = ImageDraw.Draw(sheet)
    for i, (number, path) in enumerate(pictures):
        left, top = (i % COLUMNS) * (THUMBNAIL + 4), (i // COLUMNS) * (THUMBNAIL + LABEL + 4)
        with Image.open(path) as image:
            small = image.convert("L")
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            sheet.paste(small, (left, top))
        draw.text((left + 2, top + THUMBNAIL), f"trial {number}", fill=0)
    content = BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def picture_of(summary: Summary, number: int) -> Path | None:
    """The images of a trial: of its model, or the last that it drew before it was stopped."""
    outcome = summary.outcomes.get(number)
    if outcome is None:
        return summary.last_grids.get(number, (0, None))[1]
    return outcome.picture or (outcome.epoch_grids[max(outcome.epoch_grids)] if outcome.epoch_grids else None)
