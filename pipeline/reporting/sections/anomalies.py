"""The section "Anomalies": what the recipe `anomalies` has stored of each class that was held out."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline import plots
from pipeline.evaluation.catalog import of_likelihood
from pipeline.reporting.blocks import Block, Figure, Section, Table, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome
from pipeline.store.files import read_json

TITLE = "Anomalies: a class that the model never saw"
SCORES = ("neg_elbo", "excess_bce", "class_means")


def anomalies_section(outcome: Outcome) -> Section:
    """AUROC of every score by held-out class, and the images at both ends; empty where none was held out."""
    if not outcome.anomalies:
        return Section(TITLE, ())
    found = [(folder, read_json(folder / "anomalies.json")) for folder in outcome.anomalies]
    likelihood = outcome.config.model.likelihood
    distortion, excess = (of_likelihood(name, likelihood) for name in ("bce", "excess_bce"))
    floor = "the entropy of the image's own grey" if likelihood == "bernoulli" else "the least there is for the image"
    blocks: list[Block] = [Text(_sentence(outcome, facts)) for _, facts in found[:1]]
    blocks.append(
        Table(
            ("held out", "images", "neg_elbo [95 %]", f"{excess} [95 %]", "class means [95 %]"),
            tuple(_row(outcome, facts) for _, facts in found),
            caption=(
                "Area under the ROC curve: how often an image of the class that was held out of training scores "
                f"higher than one of a class that was not, among all {outcome.split} images; .5 is chance, below it "
                "the unknown class looks more usual than the known ones. Intervals are over images, of one training. "
                f"Each image is scored under the label that explains it best. {excess}: {distortion} above {floor}. "
                f"class means: the {distortion} of the nearest mean image of a known class, without a model."
            ),
        )
    )
    blocks += [_ends(folder, facts) for folder, facts in found]
    return Section(TITLE, tuple(blocks))


def _row(outcome: Outcome, facts: dict[str, Any]) -> tuple[str, ...]:
    at = f"anomalies/{facts['held_out']}"
    areas = (
        Phrase(
            cited(outcome, f"{at}/scores/{name}/auroc", form=".3f"),
            " [",
            cited(outcome, f"{at}/scores/{name}/low", form=".3f"),
            ", ",
            cited(outcome, f"{at}/scores/{name}/high", form=".3f"),
            "]",
        )
        for name in SCORES
    )
    return facts["class_names"][facts["held_out"]], cited(outcome, f"{at}/images/held_out", form="d"), *areas


def _sentence(outcome: Outcome, facts: dict[str, Any]) -> Phrase:
    at, name = f"anomalies/{facts['held_out']}", facts["class_names"][facts["held_out"]]
    return Phrase(
        f"A model of the same settings that was trained without class {name} finds its images stranger than others in ",
        cited(outcome, f"{at}/scores/neg_elbo/auroc", form=".1%"),
        " of pairs by neg_elbo; of the ",
        cited(outcome, f"{at}/images/held_out", form="d"),
        " strangest images ",
        cited(outcome, f"{at}/among_most", form="d"),
        f" are of class {name}.",
    )


def _ends(folder: Path, facts: dict[str, Any]) -> Figure:
    with Image.open(folder / "anomalies.png") as image:
        sheet = np.asarray(image)
    names, held_out = facts["class_names"], facts["held_out"]
    shown = [names[label] for label in facts["shown"]]
    half = len(shown) // 2
    return Figure(
        f"anomalies-{held_out}",
        plots.labelled_sheet(
            sheet,
            tuple(facts["cell"]),
            rows=("most", "least"),
            columns=[""] * half,
            xlabel="the stranger, the further left",
            ylabel=f"anomalous without {names[held_out]}",
        ),
        f"The most and the least anomalous images for a model that never saw class {names[held_out]}",
        f"class {names[held_out]} held out; the strangest by neg_elbo are {', '.join(shown[:half])}, "
        f"the least strange {', '.join(shown[half:])}",
    )
