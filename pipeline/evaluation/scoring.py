"""Scores of a model's conditional samples against real reference images. Knows tensors; no files, stages or trackers.

Coverage and diversity are taken per class, with as many generated images as real ones (N = M): the largest number that
every class of every split has. Mixing sizes would compare different quantities.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.config.sections import ScoreConfig
from pipeline.evaluation.judges.networks import Judges, judge_outputs, predict_logits
from pipeline.evaluation.metrics.neighbours import covered_and_without
from pipeline.evaluation.metrics.rates import ConditionalAccuracy, conditional_accuracy
from pipeline.evaluation.reference import Reference, vendi_of_read, vendi_per_class
from pipeline.models.architecture import Architecture
from pipeline.models.priors import STANDARD, Prior
from pipeline.models.sampling import conditional_samples

GROUPS = 10
"""Tenths of the generated images that are left out in turn, for the noise of having drawn these."""


@dataclass(frozen=True)
class Scores:
    """The scores of one model and, for paired comparison, the facts behind each rate."""

    accuracy: ConditionalAccuracy
    accuracy_b: float
    coverage: Float[Tensor, " K"]
    vendi: Float[Tensor, " K"]
    vendi_read: Float[Tensor, " K"]
    """Of the images that are read as their label."""
    predicted: Int[Tensor, " N"]
    """Judge A's reading of each generated image; labels are 0 0 .. 1 1 .. ."""
    covered: Bool[Tensor, "T K R"]
    """Whether each reference image has a generated one in its ball."""
    covered_without: Bool[Tensor, "G T K R"]
    """The same, a tenth of the generated images left out."""


def score_model(
    model: Architecture, judges: Judges, reference: Reference, config: ScoreConfig, prior: Prior = STANDARD
) -> Scores:
    """Conditional accuracy, coverage and Vendi score of `per_class` samples per class, z from `prior`."""
    images, labels = conditional_samples(model, per_class=config.per_class, seed=config.seed, prior=prior)
    logits, features = judge_outputs(judges.a, images)
    predicted = logits.argmax(-1).cpu()
    predicted_b = predict_logits(judges.b, images).argmax(-1).cpu()
    by_class, scored = (model.classes, config.per_class), list(reference.classes)
    inside, without, vendi, read = [], [], [], []
    for draw, (real, radii) in enumerate(zip(reference.features, reference.radii, strict=True)):
        own = drawn_for(draw, reference.per_class, config.per_class)
        of_draw = features.unflatten(0, by_class)[scored, own]  # (K, R, F)
        groups = min(GROUPS, reference.per_class)
        parts = [covered_and_without(f, r, g, groups=groups) for f, r, g in zip(real, radii, of_draw, strict=True)]
        inside.append(torch.stack([whole for whole, _ in parts]).cpu())  # (K, R)
        without.append(torch.stack([left_out for _, left_out in parts], 1).cpu())  # (G, K, R)
        shown = images.unflatten(0, by_class)[scored, own]
        vendi.append(vendi_per_class(reference.pca, shown))
        seen = predicted.unflatten(0, by_class)[scored, own]
        read.append(vendi_of_read(reference.pca, shown, seen, reference.classes))
    covered = torch.stack(inside)
    return Scores(
        accuracy=conditional_accuracy(predicted, labels, classes=model.classes),
        accuracy_b=conditional_accuracy(predicted_b, labels, classes=model.classes).macro,
        coverage=covered.double().mean((0, 2)),
        vendi=torch.stack(vendi).mean(0),
        vendi_read=torch.stack(read).mean(0),
        predicted=predicted,
        covered=covered,
        covered_without=torch.stack(without, 1),
    )


def drawn_for(draw: int, per_class: int, there: int) -> slice:
    """Which images of a class are held against a draw of the reference: others for each draw, while they last."""
    start = draw % (there // per_class) * per_class
    return slice(start, start + per_class)


def score_metrics(scores: Scores, reference: Reference, split: str) -> dict[str, float]:
    """Every number of `scores` under its key, with the real value that bounds it beside it."""
    accuracy = scores.accuracy
    values = {
        "conditional_accuracy": accuracy.macro,
        "conditional_accuracy_low": accuracy.interval[0],
        "conditional_accuracy_high": accuracy.interval[1],
        "conditional_accuracy_worst_class": accuracy.worst_class,
        "conditional_accuracy_b": scores.accuracy_b,
        "judge_accuracy": reference.judge_accuracy,
        "judge_b_accuracy": reference.judge_b_accuracy,
    }
    if reference.enough:
        values |= {
            "coverage": float(scores.coverage.mean()),
            "coverage_real": float(reference.coverage.mean()),
            "coverage_relative": float(scores.coverage.mean() / reference.coverage.mean()),
            "coverage_equivalent": reference.equivalent(float(scores.coverage.mean())),
            "coverage_images": float(reference.per_class),
            "vendi": float(scores.vendi.mean()),
            "vendi_real": float(reference.vendi.mean()),
            "vendi_ratio": float((scores.vendi / reference.vendi).mean()),
            "vendi_ratio_read": float((scores.vendi_read / reference.vendi).mean()),
        }
    return {f"{split}/{key}": value for key, value in values.items()}


EXPOST = (
    "conditional_accuracy",
    "conditional_accuracy_low",
    "conditional_accuracy_high",
    "conditional_accuracy_worst_class",
    "conditional_accuracy_b",
    "coverage",
    "coverage_relative",
    "coverage_equivalent",
    "vendi_ratio",
    "vendi_ratio_read",
)
"""Scores that are given a second time under a fitted prior, with `_expost` behind their name."""


def expost_elbo(bce: Float[Tensor, " N"], kl: Float[Tensor, " N"], split: str) -> dict[str, float]:
    """The bound of a decoder with its fitted prior, from what it is for each image: bce is that under N(0, I)."""
    neg_elbo = bce.double() + kl.double()
    return {
        f"{split}/neg_elbo_expost": float(neg_elbo.mean()),
        f"{split}/neg_elbo_sem_expost": float(neg_elbo.std() / len(neg_elbo) ** 0.5),
        f"{split}/kl_expost": float(kl.double().mean()),
    }


def expost_scores(scores: Scores, standard: dict[str, float], reference: Reference, split: str) -> dict[str, float]:
    """The scores under a fitted prior, and how much accuracy N(0, I) loses against it: the mismatch of the two."""
    own = score_metrics(scores, reference, split)
    found = {f"{split}/{name}_expost": own[key] for name in EXPOST if (key := f"{split}/{name}") in own}
    gap = own[f"{split}/conditional_accuracy"] - standard[f"{split}/conditional_accuracy"]
    return found | {f"{split}/prior_gap": gap}


def ratios_per_class(scores: Scores, reference: Reference) -> dict[str, list[float]]:
    """What a mean over classes is the mean of, for each class that is scored: the items of a difference of two models.
    Nothing where no class has images enough."""
    if not reference.enough:
        return {}
    return {
        "vendi_ratio": (scores.vendi / reference.vendi).tolist(),
        "vendi_ratio_read": (scores.vendi_read / reference.vendi).tolist(),
    }


def per_class_table(scores: Scores, reference: Reference, class_names: tuple[str, ...]) -> dict[str, list]:
    """One row per class: accuracy with its Wilson interval, coverage and Vendi score beside the real ones; None for
    those of a class that is too small."""
    read: dict[str, list[Any]] = {
        "class": list(class_names),
        "conditional_accuracy": scores.accuracy.per_class,
        "low": [low for low, _ in scores.accuracy.intervals_per_class],
        "high": [high for _, high in scores.accuracy.intervals_per_class],
    }
    if not reference.enough:
        return read
    columns = {
        "coverage": scores.coverage,
        "coverage_real": reference.coverage,
        "vendi": scores.vendi,
        "vendi_real": reference.vendi,
    }
    rows = range(len(class_names))
    values = {name: dict(zip(reference.classes, of.tolist(), strict=True)) for name, of in columns.items()}
    return read | {name: [of.get(label) for label in rows] for name, of in values.items()}
