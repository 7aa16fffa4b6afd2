"""Scores of a model's conditional samples against real reference images. Knows tensors; no files, stages or trackers.

Coverage and diversity are taken per class, with as many generated images as real ones (N = M): the largest number that
every class of the reference split has. Mixing sizes would compare different quantities.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.config import ScoreConfig, derive_seed
from pipeline.data import PreparedData, Split
from pipeline.judge import Judge, judge_outputs, predict_logits
from pipeline.metrics.diversity import PixelPCA, vendi_score
from pipeline.metrics.neighbours import covered, knn_radii
from pipeline.metrics.rates import ConditionalAccuracy, conditional_accuracy
from pipeline.model import Autoencoder
from pipeline.sampling import Prior, conditional_samples

PCA_COMPONENTS = 50


@dataclass(frozen=True)
class Judges:
    """Judge A drives every score; judge B is held out for reports."""

    a: Judge
    b: Judge


@dataclass(frozen=True)
class Reference:
    """What real images of one split score, and what generated ones are held against. R images per class, F features."""

    features: Float[Tensor, "K R F"]
    """Judge A's last convolutional features of the reference images."""
    radii: Float[Tensor, "K R"]
    """Distance to the k-th nearest other reference image of the class."""
    pca: PixelPCA
    """Fitted on training images."""
    judge_accuracy: float
    """Judge A on the split's real images: the ceiling of conditional accuracy."""
    judge_b_accuracy: float
    coverage: Float[Tensor, " K"]
    """Coverage per class reached by a disjoint sample of real training images of the same size."""
    vendi: Float[Tensor, " K"]
    """Vendi score per class of the reference images."""

    @property
    def per_class(self) -> int:
        return self.features.shape[1]


@dataclass(frozen=True)
class Scores:
    """The scores of one model and, for paired comparison, the facts behind each rate."""

    accuracy: ConditionalAccuracy
    accuracy_b: float
    coverage: Float[Tensor, " K"]
    vendi: Float[Tensor, " K"]
    predicted: Int[Tensor, " N"]
    """Judge A's reading of each generated image; labels are 0 0 .. 1 1 .. ."""
    covered: Bool[Tensor, "K R"]
    """Whether each reference image has a generated one in its ball."""


def stratified_indices(labels: Int[Tensor, " N"], per_class: int, classes: int, *, seed: int) -> Int[Tensor, "K R"]:
    """`per_class` indices of every class, drawn without replacement, the same for every model."""
    rows = []
    for label in range(classes):
        members = (labels == label).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(derive_seed("reference", seed, label))
        rows.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return torch.stack(rows)


def class_means(part: Split, classes: int) -> Float[Tensor, "K D"]:
    """Mean image of each class, in [0, 1]."""
    return torch.stack([part.as_float((part.labels == c).nonzero().squeeze(1)).mean(0) for c in range(classes)])


def largest_per_class(split: Split, train: Split, classes: int, limit: int) -> int:
    """The largest R that every class of both splits has, at most `limit`."""
    smallest = min(int(torch.bincount(part.labels.cpu(), minlength=classes).min()) for part in (split, train))
    return min(limit, smallest)


def build_reference(judges: Judges, data: PreparedData, split: Split, config: ScoreConfig) -> Reference:
    """Reference features, radii and real scores of one split."""
    classes = data.classes
    n = largest_per_class(split, data.train, classes, config.per_class)
    reference = split.as_float(stratified_indices(split.labels, n, classes, seed=config.seed).flatten())  # (K R, D)
    sample = data.train.as_float(stratified_indices(data.train.labels, n, classes, seed=config.seed).flatten())
    features = judge_outputs(judges.a, reference)[1].unflatten(0, (classes, n))  # (K, R, F)
    sample_features = judge_outputs(judges.a, sample)[1].unflatten(0, (classes, n))
    k = min(config.neighbours, n - 1)
    radii = torch.stack([knn_radii(f, k) for f in features])
    everything = split.as_float(slice(None))
    pca = PixelPCA.fit(data.train.as_float(slice(0, 20_000)), PCA_COMPONENTS)
    return Reference(
        features=features,
        radii=radii,
        pca=pca,
        judge_accuracy=_accuracy(judges.a, everything, split.labels),
        judge_b_accuracy=_accuracy(judges.b, everything, split.labels),
        coverage=_mean_covered(features, radii, sample_features),
        vendi=_vendi(pca, reference.unflatten(0, (classes, n))),
    )


def score_model(
    model: Autoencoder, judges: Judges, reference: Reference, config: ScoreConfig, prior: Prior | None = None
) -> Scores:
    """Conditional accuracy, coverage and Vendi score of `per_class` samples per class; prior None is N(0, I)."""
    images, labels = conditional_samples(model, per_class=config.per_class, seed=config.seed, prior=prior)
    logits, features = judge_outputs(judges.a, images)
    predicted = logits.argmax(-1).cpu()
    predicted_b = predict_logits(judges.b, images).argmax(-1).cpu()
    n, classes = reference.per_class, model.classes
    by_class = images.unflatten(0, (classes, config.per_class))[:, :n]  # (K, R, D)
    inside = _covered(reference.features, reference.radii, features.unflatten(0, (classes, -1))[:, :n])
    return Scores(
        accuracy=conditional_accuracy(predicted, labels, classes=classes),
        accuracy_b=conditional_accuracy(predicted_b, labels, classes=classes).macro,
        coverage=inside.double().mean(1),
        vendi=_vendi(reference.pca, by_class),
        predicted=predicted,
        covered=inside,
    )


def reference_rows(
    judges: Judges, reference: Reference, data: PreparedData, split: Split, config: ScoreConfig
) -> list[dict[str, Any]]:
    """What images that no model made score: the ceilings and floors that every score is read against.

    Real images of the split itself; as many training images; training images under wrong labels; the class means.
    """
    classes, n = data.classes, reference.per_class
    real = split.as_float(stratified_indices(split.labels, n, classes, seed=config.seed).flatten())
    train = data.train.as_float(stratified_indices(data.train.labels, n, classes, seed=config.seed).flatten())
    shuffle = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive_seed("shuffled labels")))
    means = class_means(data.train, classes).repeat_interleave(n, 0)
    candidates = {
        "real images of this split": real,
        "training images": train,
        "training images under shuffled labels": train[shuffle.to(train.device)],
        "the mean image of each class": means,
    }
    labels = torch.arange(classes).repeat_interleave(n)
    rows = []
    for name, images in candidates.items():
        logits, features = judge_outputs(judges.a, images)
        accuracy = conditional_accuracy(logits.argmax(-1).cpu(), labels, classes=classes)
        inside = _covered(reference.features, reference.radii, features.unflatten(0, (classes, n)))
        vendi = _vendi(reference.pca, images.unflatten(0, (classes, n)))
        rows.append(
            {
                "images": name,
                "conditional_accuracy": accuracy.macro,
                "coverage": float(inside.double().mean()),
                "coverage_relative": float(inside.double().mean() / reference.coverage.mean()),
                "vendi_ratio": float((vendi / reference.vendi).mean()),
            }
        )
    return rows


def quick_scores(model: Autoencoder, judges: Judges, reference: Reference, config: ScoreConfig) -> dict[str, float]:
    """A tenth of the samples, for a pruner between epochs. Not comparable with the full scores: the sizes differ."""
    per_class = max(2, min(config.per_class, reference.per_class) // 10)
    images, labels = conditional_samples(model, per_class=per_class, seed=config.seed)
    logits, features = judge_outputs(judges.a, images)
    inside = _covered(reference.features, reference.radii, features.unflatten(0, (model.classes, per_class)))
    accuracy = conditional_accuracy(logits.argmax(-1).cpu(), labels, classes=model.classes)
    return {
        "conditional_accuracy": accuracy.macro,
        "conditional_accuracy_worst_class": accuracy.worst_class,
        "coverage_relative": float(inside.double().mean() / reference.coverage.mean()),
    }


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
        "coverage": float(scores.coverage.mean()),
        "coverage_real": float(reference.coverage.mean()),
        "coverage_relative": float(scores.coverage.mean() / reference.coverage.mean()),
        "vendi": float(scores.vendi.mean()),
        "vendi_real": float(reference.vendi.mean()),
        "vendi_ratio": float((scores.vendi / reference.vendi).mean()),
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
    "vendi_ratio",
)
"""Scores that are given a second time under an ex-post prior, with `_expost` behind their name."""


def expost_metrics(scores: Scores, standard: dict[str, float], reference: Reference, split: str) -> dict[str, float]:
    """The scores under an ex-post prior, and how much accuracy N(0, I) loses against it: the mismatch of the two."""
    own = score_metrics(scores, reference, split)
    found = {f"{split}/{name}_expost": own[f"{split}/{name}"] for name in EXPOST}
    gap = own[f"{split}/conditional_accuracy"] - standard[f"{split}/conditional_accuracy"]
    return found | {f"{split}/prior_gap": gap}


def per_class_table(scores: Scores, reference: Reference, class_names: tuple[str, ...]) -> dict[str, list]:
    """One row per class: accuracy with its Wilson interval, coverage and Vendi score beside the real ones."""
    return {
        "class": list(class_names),
        "conditional_accuracy": scores.accuracy.per_class,
        "low": [low for low, _ in scores.accuracy.intervals_per_class],
        "high": [high for _, high in scores.accuracy.intervals_per_class],
        "coverage": scores.coverage.tolist(),
        "coverage_real": reference.coverage.tolist(),
        "vendi": scores.vendi.tolist(),
        "vendi_real": reference.vendi.tolist(),
    }


def _accuracy(judge: Judge, x: Tensor, labels: Tensor) -> float:
    return float((predict_logits(judge, x).argmax(-1) == labels).double().mean())


def _covered(features: Tensor, radii: Tensor, generated: Tensor) -> Bool[Tensor, "K R"]:
    return torch.stack([covered(f, r, g) for f, r, g in zip(features, radii, generated, strict=True)]).cpu()


def _mean_covered(features: Tensor, radii: Tensor, generated: Tensor) -> Float[Tensor, " K"]:
    return _covered(features, radii, generated).double().mean(1)


def _vendi(pca: PixelPCA, images: Float[Tensor, "K R D"]) -> Float[Tensor, " K"]:
    return torch.tensor([vendi_score(pca.project(x)) for x in images], dtype=torch.float64)
