"""The section "Per class": accuracy, coverage and confusion of each class, the worst one with its images."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.reporting.blocks import Block, Figure, File, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome
from pipeline.wording import shortened

SIZED = {"coverage": ".3f", "coverage_real": ".3f", "vendi": ".1f", "vendi_real": ".1f"}
"""Columns of a data set with enough images of every class."""
TOO_SMALL = f" n/a: fewer than {FEWEST_IMAGES} images of the class in a split."
ROW_WIDTH = 600
"""Pixels that a row of generated images is enlarged to, at most."""


def classes_section(outcome: Outcome) -> Section:
    """Accuracy and coverage per class, the worst class with its images; empty for a model without labels.

    Of many those with the least accuracy are shown, and all of them are in a file.
    """
    if outcome.per_class is None:
        return Section("Per class", ())
    table = outcome.per_class["table"]
    classes = [shortened(c) for c in table["class"]]
    accuracy = table["conditional_accuracy"]
    shown = plots.worst_of(accuracy)
    worst = min(range(len(classes)), key=lambda i: accuracy[i])
    few = f"the {len(shown)} worst of {len(classes)} classes: " * (len(shown) < len(classes))
    blocks: list[Block] = [
        Text(Phrase(f"The worst class is {classes[worst]}: ", _read_as(outcome, classes, worst), "."))
    ]
    if outcome.picture is not None:
        blocks.append(
            Figure(
                "worst-class",
                _grid_row(outcome, outcome.picture, worst),
                f"Images generated for class {classes[worst]}",
                f"the row of the worst class, {classes[worst]}, in the generated grid",
            )
        )
    blocks.append(_table(outcome, classes, shown, worst))
    if few:
        blocks.append(File("per_class.csv", _csv(table), f"per_class.csv: all {len(classes)} classes"))
    blocks += [
        Figure(
            "per-class",
            plots.per_class_bars(
                [classes[i] for i in shown],
                [accuracy[i] for i in shown],
                [(table["low"][i], table["high"][i]) for i in shown],
                ceiling=outcome.metrics[f"{outcome.split}/judge_accuracy"],
            ),
            "Conditional accuracy of each class",
            f"{few}conditional accuracy with Wilson 95 % intervals; the line is the judge on real images",
        ),
        Figure(
            "confusion",
            plots.confusion_matrix(outcome.per_class["confusion"], classes),
            "Label asked for against label read",
            "rows: label asked for; columns: label read by judge A",
        ),
    ]
    return Section("Per class", tuple(blocks))


def _table(outcome: Outcome, classes: list[str], shown: list[int], worst: int) -> Table:
    """A row for each class that is shown: its images in train, val and test, and its scores."""
    assert outcome.per_class is not None
    table, counts = outcome.per_class["table"], outcome.facts.get("class_images", {})

    def of(column: str, label: int, form: str) -> str:
        if table[column][label] is None:  # a class that is too small for it
            return "n/a"
        return cited(outcome, f"per_class/{column}/{label}", form=form)

    def images(label: int) -> Phrase:
        train, val, test = (cited(outcome, f"facts/class_images/{name}/{label}", form=",.0f") for name in counts)
        return Phrase(train, " / ", val, " / ", test)

    sized = [(column, form) for column, form in SIZED.items() if column in table]
    rows = tuple(
        (
            classes[i],
            *([images(i)] if counts else []),
            Phrase(of("conditional_accuracy", i, ".3f"), " [", of("low", i, ".3f"), ", ", of("high", i, ".3f"), "]"),
            *(of(column, i, form) for column, form in sized),
        )
        for i in shown
    )
    said = f"{outcome.name}, {outcome.split}, z from {_drawn_from(outcome)}. "
    said += "The worst class stands out." if len(shown) == len(classes) else f"The {len(shown)} worst classes."
    taken = f"{outcome.split}/coverage_images"
    size: tuple[str, ...] = ()
    if taken in outcome.metrics:
        size = (" Coverage and vendi on ", cited(outcome, taken, form="d"), " images of each.")
    small = TOO_SMALL * any(table[column][i] is None for column, _ in sized for i in shown)
    return Table(
        (
            "class",
            *(["images (train / val / test)"] if counts else []),
            "conditional accuracy [95 %]",
            *("of real" if c.endswith("_real") else c for c, _ in sized),
        ),
        rows,
        highlight=frozenset({shown.index(worst)}),
        caption=Phrase(said, *size, small),
    )


def _csv(table: Mapping[str, Sequence[Any]]) -> str:
    """The whole table; empty where a class has no score."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(table)
    rows.writerows(zip(*table.values(), strict=True))
    return written.getvalue()


def _drawn_from(outcome: Outcome) -> str:
    return f"the fitted {outcome.config.sampling.prior}" if outcome.fitted else "N(0, I)"


def _read_as(outcome: Outcome, classes: list[str], label: int) -> Phrase:
    """How often a class is read right, and what it is taken for most often."""
    assert outcome.per_class is not None
    counts = np.asarray(outcome.per_class["confusion"], dtype=float)[label]
    right = cited(outcome, f"confusion/{label}/{label}", form=".1%")
    counts[label] = 0
    other = int(counts.argmax())
    if not counts[other]:
        return Phrase(right, " are read right")
    taken = cited(outcome, f"confusion/{label}/{other}", form=".1%")
    return Phrase(right, " are read right; ", taken, f" are taken for {classes[other]}")


def _grid_row(outcome: Outcome, grid_path: Path, label: int) -> bytes:
    """One class of the generated grid as a PNG."""
    _, height, _ = outcome.facts["shape"]
    with Image.open(grid_path) as image:
        grid = np.asarray(image)
    top = label * (height + 1)  # a pixel between rows
    return plots.image_png(grid[top : top + height], scale=max(1, ROW_WIDTH // grid.shape[1]))
