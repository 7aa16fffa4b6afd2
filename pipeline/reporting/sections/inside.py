"""The section "Inside the model": what the stage `inside` has stored, as pictures and sentences. Measures nothing."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from safetensors.numpy import load_file

from pipeline import plots
from pipeline.evaluation.thresholds import ACTIVE_VARIANCE
from pipeline.reporting.blocks import Block, Figure, Section, Text
from pipeline.reporting.citation import Phrase, cited
from pipeline.runs.outcome import Outcome
from pipeline.store.files import read_json
from pipeline.wording import shortened

ROW_LABEL = 14
"""Characters of a label beside a row of images."""


def inside_section(outcome: Outcome) -> Section:
    """The section "Inside the model"; empty for a run that nobody has looked into."""
    if outcome.inside is None:
        return Section("Inside the model", ())
    folder, facts = outcome.inside, read_json(outcome.inside / "inside.json")
    blocks: list[Block] = [*_dimensions(outcome, facts), _traversals(outcome, folder, facts)]
    if "class_traversals" in facts:
        blocks.append(_class_traversals(folder, facts))
    blocks += _interpolations(outcome, folder, facts)
    blocks += _map(outcome, folder, facts)
    if "most_wrong" in facts:
        blocks += _most_wrong(outcome, folder, facts)
    return Section("Inside the model", tuple(blocks))


def _sheet(folder: Path, name: str) -> UInt8[np.ndarray, "H W *C"]:
    with Image.open(folder / f"{name}.png") as image:
        return np.asarray(image)


def _dimensions(outcome: Outcome, facts: dict[str, Any]) -> list[Block]:
    kl, variance = facts["kl_per_dim"], facts["variance_per_dim"]
    if kl is None:
        return [Text("This model is deterministic: it has codes but no rate, and no prior to sample from.")]
    active = sum(v > ACTIVE_VARIANCE for v in variance)
    return [
        Text(
            Phrase(
                cited(outcome, f"inside/variance_per_dim/>{ACTIVE_VARIANCE:g}", form="d"),
                " of ",
                cited(outcome, "config/model.latent_dim", form="d"),
                " latent dimensions are active. Together they carry ",
                cited(outcome, "inside/kl_per_dim/sum", form=".2f"),
                " nats per image; the most used one ",
                cited(outcome, "inside/kl_per_dim/max", form=".2f"),
                ".",
            )
        ),
        Figure(
            "kl-per-dim",
            plots.dimension_use(kl, variance, ACTIVE_VARIANCE),
            f"Bars of the KL of each latent dimension, falling; {active} of {len(kl)} are active",
            f"above: KL(q(z_d|x) || N(0, 1)), mean of {facts['images']:,} {outcome.split} images; below: variance over "
            f"images of the dimension's mean, log scale. Active: above {ACTIVE_VARIANCE:g} (Burda et al. 2016)",
        ),
    ]


def _offsets(about: dict[str, Any]) -> list[str]:
    """Labels of a traversal's columns: whole steps only."""
    return [f"{offset:g}" if offset == int(offset) else "" for offset in about["offsets"]]


def _traversals(outcome: Outcome, folder: Path, facts: dict[str, Any]) -> Figure:
    about = facts["traversals"]
    deterministic = outcome.config.model.kind == "ae"
    where = "the mean code" if deterministic else "z = 0, the centre of the prior"
    name = "" if about["label"] is None else f"class {shortened(facts['class_names'][about['label']])}"
    label = f"{name}, the one with the highest rate: " if name else ""
    return Figure(
        "traversals",
        plots.labelled_sheet(
            _sheet(folder, "traversals"),
            facts["cell"],
            rows=[str(dim) for dim in about["dims"]],
            columns=_offsets(about),
            xlabel="value of z, standard deviations of the " + ("codes" if deterministic else "prior"),
            ylabel="latent dimension",
        ),
        f"Images decoded while one latent dimension at a time moves from -3 to 3{f', {name}' * bool(name)}",
        f"{label}one dimension moved at a time from {where}; the most active dimension on top",
    )


def _class_traversals(folder: Path, facts: dict[str, Any]) -> Figure:
    about = facts["class_traversals"]
    rows, classes = len(about["labels"]), len(facts["class_names"])
    where = "every class" if rows == classes else f"the first {rows} of {classes} classes"
    return Figure(
        "class-traversals",
        plots.labelled_sheet(
            _sheet(folder, "class_traversals"),
            facts["cell"],
            rows=[facts["class_names"][label] for label in about["labels"]],
            columns=_offsets(about),
            xlabel="value of z, standard deviations of the prior",
            ylabel="class",
        ),
        f"Latent dimension {about['dim']} moved from -3 to 3 in {where}",
        f"the most active dimension, {about['dim']}, moved from z = 0 in {where}: what it stands for is shared as "
        "far as the rows change alike",
    )


def _interpolations(outcome: Outcome, folder: Path, facts: dict[str, Any]) -> list[Block]:
    names = facts["class_names"]
    about = facts["between_images"]
    steps = _sheet(folder, "between_images").shape[1] // (facts["cell"][1] + 1) - 1  # both images stand outside
    one_class = outcome.config.model.kind == "cvae"
    rows = [names[a] if one_class else _turning(names[a], names[b]) for a, b in about["labels"]]
    blocks: list[Block] = [
        Figure(
            "between-images",
            plots.labelled_sheet(
                _sheet(folder, "between_images"),
                facts["cell"],
                rows=rows,
                columns=["real", "0", *[""] * (steps - 3), "1", "real"],
                xlabel="share of the second image's code",
                ylabel="class",
            ),
            "Images decoded on the way from one real image's code to another's",
            f"from one {outcome.split} image (left) to another (right){' of its class' * one_class}, along the line "
            "between their means of q. Straight, not on a sphere: the means lie inside the sphere that draws of the "
            "prior keep to, so there is no norm to preserve",
        )
    ]
    if "between_labels" in facts:
        blocks.append(
            Figure(
                "between-labels",
                plots.labelled_sheet(
                    _sheet(folder, "between_labels"),
                    facts["cell"],
                    rows=[_turning(names[a], names[b]) for a, b in facts["between_labels"]["labels"]],
                    columns=["0", "", "", "", "½", "", "", "", "1"],
                    xlabel="weight of the second label",
                    ylabel="classes",
                ),
                "Images of one z decoded while the label turns into the next one",
                "one z from N(0, I), that of the first column of its grid, while one label turns into another: a "
                "mixture of both, which the decoder never saw in training",
            )
        )
    return blocks


def _turning(first: str, second: str) -> str:
    """From one class to another, as the label of a row has room for."""
    whole = f"{first} → {second}"
    return whole if len(whole) <= ROW_LABEL else f"{shortened(first, 6)} → {shortened(second, 5)}"


def _map(outcome: Outcome, folder: Path, facts: dict[str, Any]) -> list[Block]:
    path = folder / "map.safetensors"
    if not path.exists():
        return []
    stored, explained = load_file(path), facts["explained"]
    prior = outcome.config.model.kind != "ae"
    if explained is None:
        axes = ("mean of latent dimension 0", "mean of latent dimension 1")
        what = "the means of both latent dimensions"
    else:
        axes = (
            f"principal component 1 ({explained[0]:.0%} of variance)",
            f"principal component 2 ({explained[1]:.0%} of variance)",
        )
        what = f"the means of all latent dimensions on their two principal components, {sum(explained):.0%} of variance"
    told = {
        "cvae": "; a cvae is told the class, so z should not say it: overlap is as it should be",
        "vae": "; the model was never told the classes",
        "ae": "; the model was never told the classes",
    }[outcome.config.model.kind]
    circles = "; dashed: one and two standard deviations of the prior" * prior
    return [
        Figure(
            "latent-map",
            plots.latent_map(stored["points"], stored["labels"], facts["class_names"], axes=axes, prior=prior),
            "Map of the codes of real images, coloured by class",
            f"{len(stored['labels']):,} {outcome.split} images: {what}; names at the medians of classes{circles}{told}",
        )
    ]


def _per_cent(probability: float) -> str:
    return ">99.9%" if probability >= 0.9995 else f"{probability:.1%}"


def _most_wrong(outcome: Outcome, folder: Path, facts: dict[str, Any]) -> list[Block]:
    about, names = facts["most_wrong"], facts["class_names"]
    generated = cited(outcome, "inside/most_wrong/generated", form=",.0f")
    if not about["asked"]:
        return [Text(Phrase("No sample is wrong: judge A reads all ", generated, " generated images as their label."))]
    misread = cited(outcome, "inside/most_wrong/misread", form=",.0f")
    were = "image is" if misread.value == 1 else "images are"
    head = Phrase(misread, " of ", generated, f" generated {were} read as another class than asked for (judge A).")
    read = [
        (names[asked], names[seen], probability)
        for asked, seen, probability in zip(about["asked"], about["read"], about["probability"], strict=True)
    ]
    sheet, (height, width) = _sheet(folder, "most_wrong"), facts["cell"]
    columns = (sheet.shape[1] + 1) // (width + 1)
    images = [
        sheet[row : row + height, column : column + width]
        for row, column in ((i // columns * (height + 1), i % columns * (width + 1)) for i in range(len(read)))
    ]
    told = "; ".join(f"asked {shortened(a)}, read {shortened(b)} ({_per_cent(p)})" for a, b, p in read)
    below = [(f"asked {shortened(a, 9)}", f"read {shortened(b, 6)}, {_per_cent(p)}") for a, b, p in read]
    return [
        Figure(
            "most-wrong",
            plots.captioned_images(images, below),
            f"Generated images that the judge takes for another class with most confidence: {told}",
            Phrase(
                head,
                f" Shown {'is the one' if len(read) == 1 else f'are the {len(read)}'} that it is surest of, with its "
                f"probability; z is from {'the fitted prior' if outcome.fitted else 'N(0, I)'}",
            ),
        )
    ]
