"""What real images of a split score: the statistics that generated ones are held against, and the rows beside them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.config.sections import ScoreConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.judges.networks import Judge, Judges, judge_outputs, predict_logits
from pipeline.evaluation.metrics.diversity import PixelPCA, vendi_score
from pipeline.evaluation.metrics.neighbours import covered, knn_radii
from pipeline.evaluation.metrics.rates import conditional_accuracy

PCA_COMPONENTS = 50


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
        vendi=vendi_per_class(pca, reference.unflatten(0, (classes, n))),
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
        inside = covered_per_class(reference.features, reference.radii, features.unflatten(0, (classes, n)))
        vendi = vendi_per_class(reference.pca, images.unflatten(0, (classes, n)))
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


def _accuracy(judge: Judge, x: Tensor, labels: Tensor) -> float:
    return float((predict_logits(judge, x).argmax(-1) == labels).double().mean())


def covered_per_class(features: Tensor, radii: Tensor, generated: Tensor) -> Bool[Tensor, "K R"]:
    return torch.stack([covered(f, r, g) for f, r, g in zip(features, radii, generated, strict=True)]).cpu()


def _mean_covered(features: Tensor, radii: Tensor, generated: Tensor) -> Float[Tensor, " K"]:
    return covered_per_class(features, radii, generated).double().mean(1)


def vendi_per_class(pca: PixelPCA, images: Float[Tensor, "K R D"]) -> Float[Tensor, " K"]:
    return torch.tensor([vendi_score(pca.project(x)) for x in images], dtype=torch.float64)
