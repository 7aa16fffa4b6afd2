"""The section "Per class": accuracy, coverage and confusion of each class, the worst one with its images."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.reporting.blocks import Block, Figure, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome

SIZED = {"coverage": ".3f", "coverage_real": ".3f", "vendi": ".1f", "vendi_real": ".1f"}
"""Columns of a data set with enough images of every class."""
TOO_SMALL = f" n/a: fewer than {FEWEST_IMAGES} images of the class in a split."
ROW_WIDTH = 600
"""Pixels that a row of generated images is enlarged to, at most."""


def classes_section(outcome: Outcome) -> Section:
    """Accuracy and coverage per class, the worst class with its images; empty for a model without labels."""
    if outcome.per_class is None:
        return Section("Per class", ())
    table = outcome.per_class["table"]
    classes = [str(c) for c in table["class"]]
    accuracy = table["conditional_accuracy"]
    worst = min(range(len(classes)), key=lambda i: accuracy[i])
    blocks: list[Block] = [
        Text(Phrase(f"The worst class is {classes[worst]}: ", _read_as(outcome, classes, worst), "."))
    ]

    def of(column: str, label: int, form: str) -> str:
        if table[column][label] is None:  # a class that is too small for it
            return "n/a"
        return cited(outcome, f"per_class/{column}/{label}", form=form)

    if outcome.picture is not None:
        blocks.append(
            Figure(
                "worst-class",
                _grid_row(outcome, outcome.picture, worst),
                f"Images generated for class {classes[worst]}",
                f"the row of the worst class, {classes[worst]}, in the generated grid",
            )
        )
    sized = [(column, form) for column, form in SIZED.items() if column in table]
    rows = tuple(
        (
            name,
            Phrase(of("conditional_accuracy", i, ".3f"), " [", of("low", i, ".3f"), ", ", of("high", i, ".3f"), "]"),
            *(of(column, i, form) for column, form in sized),
        )
        for i, name in enumerate(classes)
    )
    blocks += [
        Table(
            ("class", "conditional accuracy [95 %]", *("of real" if c.endswith("_real") else c for c, _ in sized)),
            rows,
            highlight=frozenset({worst}),
            caption=f"{outcome.name}, {outcome.split}, z from {_drawn_from(outcome)}. The worst class stands out."
            f"{TOO_SMALL * any(None in table[column] for column, _ in sized)}",
        ),
        Figure(
            "per-class",
            plots.per_class_bars(
                classes,
                accuracy,
                list(zip(table["low"], table["high"], strict=True)),
                ceiling=outcome.metrics[f"{outcome.split}/judge_accuracy"],
            ),
            "Conditional accuracy of each class",
            "conditional accuracy with Wilson 95 % intervals; the line is the judge on real images",
        ),
        Figure(
            "confusion",
            plots.confusion_matrix(outcome.per_class["confusion"], classes),
            "Label asked for against label read",
            "rows: label asked for; columns: label read by judge A",
        ),
    ]
    return Section("Per class", tuple(blocks))


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
