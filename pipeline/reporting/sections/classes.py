"""The section "Per class": accuracy, coverage and confusion of each class, the worst one with its images."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.evaluation.catalog import directed
from pipeline.evaluation.thresholds import FEWEST_IMAGES
from pipeline.reporting.blocks import Block, Figure, File, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited, cited_share
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
    shown, worst = plots.worst_of(accuracy), _worst(accuracy)
    few = f"the {len(shown)} worst of {len(classes)} classes: " * (len(shown) < len(classes))
    blocks: list[Block] = [Text(_sentence(outcome, classes, worst))]
    if outcome.picture is not None and len(worst) == 1:
        blocks.append(
            Figure(
                "worst-class",
                _grid_row(outcome, outcome.picture, worst[0]),
                f"Images generated for class {classes[worst[0]]}",
                f"images generated for class {classes[worst[0]]}, a row of the generated grid",
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
                worst=frozenset(shown.index(i) for i in worst),
            ),
            "Conditional accuracy of each class",
            f"{few}conditional accuracy with Wilson 95 % intervals, further right is better; the line is the judge on "
            f"real images{'; orange: read right least often' * bool(worst)}",
        ),
        Figure(
            "confusion",
            plots.confusion_matrix(outcome.per_class["confusion"], classes),
            "Label asked for against label read",
            "rows: class asked for; columns: class read by judge A; on the diagonal both are one",
        ),
    ]
    return Section("Per class", tuple(blocks))


def _table(outcome: Outcome, classes: list[str], shown: list[int], worst: list[int]) -> Table:
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
    said = f"{outcome.name}, {outcome.split}, z from {_drawn_from(outcome)}."
    said += f" The {len(shown)} worst classes." * (len(shown) < len(classes)) + f" {_stands_out(worst)}" * bool(worst)
    taken = f"{outcome.split}/coverage_images"
    size: tuple[str, ...] = ()
    if taken in outcome.metrics:
        size = (" Coverage and vendi on ", cited(outcome, taken, form="d"), " images of each.")
    small = TOO_SMALL * any(table[column][i] is None for column, _ in sized for i in shown)
    return Table(
        (
            "class",
            *(["images (train / val / test)"] if counts else []),
            "conditional accuracy ↑ [95 %]",
            *("of real images" if c.endswith("_real") else directed(c) for c, _ in sized),
        ),
        rows,
        highlight=frozenset(shown.index(i) for i in worst),
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


MOST_WORST = 3
"""Classes that may share the last place and still be called the worst."""


def _worst(accuracy: Sequence[float]) -> list[int]:
    """The classes that are read right least often; none where all are alike, or so many share the last place that it
    says nothing."""
    lowest = [i for i, value in enumerate(accuracy) if value == min(accuracy)]
    return lowest if len(lowest) <= min(MOST_WORST, len(accuracy) - 1) else []


def _stands_out(worst: list[int]) -> str:
    """What the rows that stand out have in common."""
    return f"The class{'es' * (len(worst) > 1)} read right least often stand{'s' * (len(worst) == 1)} out."


def _sentence(outcome: Outcome, classes: list[str], worst: list[int]) -> Phrase:
    """Which class is read right least often, where one is."""
    assert outcome.per_class is not None
    accuracy = outcome.per_class["table"]["conditional_accuracy"]
    least = cited_share(outcome, f"per_class/conditional_accuracy/{accuracy.index(min(accuracy))}")
    if len(worst) == 1:
        return Phrase(
            f"Class {classes[worst[0]]} is read right least often: ", _read_as(outcome, classes, worst[0]), "."
        )
    if worst:
        named = ", ".join(classes[i] for i in worst[:-1])
        return Phrase(f"Classes {named} and {classes[worst[-1]]} are read right least often: ", least, " of each.")
    if min(accuracy) == max(accuracy):
        return Phrase("No class is worse than another: ", least, f" of each of the {len(classes)} are read right.")
    shared = sum(value == min(accuracy) for value in accuracy)
    return Phrase(f"{shared} of {len(classes)} classes share the last place: ", least, " of each are read right.")


def _read_as(outcome: Outcome, classes: list[str], label: int) -> Phrase:
    """How often a class is read right, and what it is taken for most often."""
    assert outcome.per_class is not None
    counts = np.asarray(outcome.per_class["confusion"], dtype=float)[label]
    right = cited_share(outcome, f"confusion/{label}/{label}")
    counts[label] = 0
    other = int(counts.argmax())
    if not counts[other]:
        return Phrase(right, " are read right")
    taken = cited_share(outcome, f"confusion/{label}/{other}")
    return Phrase(right, " are read right; ", taken, f" are taken for class {classes[other]}")


def _grid_row(outcome: Outcome, grid_path: Path, label: int) -> bytes:
    """One class of the generated grid as a PNG."""
    _, height, _ = outcome.facts["shape"]
    with Image.open(grid_path) as image:
        grid = np.asarray(image)
    top = label * (height + 1)  # a pixel between rows
    return plots.image_png(grid[top : top + height], scale=max(1, ROW_WIDTH // grid.shape[1]))
