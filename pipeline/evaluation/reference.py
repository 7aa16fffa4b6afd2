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


FEWEST_IMAGES = 10
"""Images of a class below which there is no score of coverage and diversity: with two a class a model reaches 8 % of
real images' coverage, or 80 %, by chance."""
MOST_DRAWS = 5
OVERLAP = 0.1
"""Of its images that two draws may share, at most."""


@dataclass(frozen=True)
class Reference:
    """What real images of one split score, and what generated ones are held against. R images per class, F features.

    Coverage depends on R. It is the same for every split of a data set, so that their scores may be put side by side:
    what the smallest class of all splits has. Where a split has more there are several draws T of R images, whose
    scores are averaged.
    """

    features: Float[Tensor, "T K R F"]
    """Judge A's last convolutional features of the reference images."""
    radii: Float[Tensor, "T K R"]
    """Distance to the k-th nearest other reference image of the class and draw."""
    pca: PixelPCA
    """Fitted on training images."""
    judge_accuracy: float
    """Judge A on the split's real images: the ceiling of conditional accuracy."""
    judge_b_accuracy: float
    coverage: Float[Tensor, " K"]
    """Coverage per class reached by disjoint samples of real training images of the same size."""
    vendi: Float[Tensor, " K"]
    """Vendi score per class of the reference images."""

    @property
    def draws(self) -> int:
        return self.features.shape[0]

    @property
    def per_class(self) -> int:
        return self.features.shape[2]

    @property
    def enough(self) -> bool:
        """Whether there are scores of coverage and diversity at all."""
        return self.per_class >= FEWEST_IMAGES


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


def images_per_class(data: PreparedData, limit: int) -> int:
    """R: what every class of every split has, at most `limit`."""
    splits = (data.train, data.val, data.test)
    smallest = min(int(torch.bincount(part.labels.cpu(), minlength=data.classes).min()) for part in splits)
    return min(limit, smallest)


def reference_indices(labels: Int[Tensor, " N"], per_class: int, classes: int, *, seed: int) -> Int[Tensor, "T K R"]:
    """Draws of `per_class` indices of every class, as many as fit without sharing more than OVERLAP, at most
    MOST_DRAWS; the first is that of `stratified_indices`."""
    smallest = int(torch.bincount(labels.cpu(), minlength=classes).min())
    draws = max(1, min(MOST_DRAWS, int(smallest / per_class + OVERLAP)))
    order = stratified_indices(labels, smallest, classes, seed=seed)
    starts = [round(i * (smallest - per_class) / max(draws - 1, 1)) for i in range(draws)]
    return torch.stack([order[:, start : start + per_class] for start in starts])


def build_reference(judges: Judges, data: PreparedData, split: Split, config: ScoreConfig) -> Reference:
    """Reference features, radii and real scores of one split."""
    classes, n = data.classes, images_per_class(data, config.per_class)
    rows = reference_indices(split.labels, n, classes, seed=config.seed)  # (T, K, R)
    shape = rows.shape
    reference = split.as_float(rows.flatten())
    sample_rows = reference_indices(data.train.labels, n, classes, seed=config.seed)
    sample = data.train.as_float(sample_rows.flatten())
    features = judge_outputs(judges.a, reference)[1].unflatten(0, shape)  # (T, K, R, F)
    sample_features = judge_outputs(judges.a, sample)[1].unflatten(0, sample_rows.shape)
    k = min(config.neighbours, n - 1)
    radii = torch.stack([torch.stack([knn_radii(f, k) for f in draw]) for draw in features])
    everything = split.as_float(slice(None))
    pca = PixelPCA.fit(data.train.as_float(slice(0, 20_000)), PCA_COMPONENTS)
    inside = [
        covered_per_class(own, balls, sample_features[i % len(sample_features)])
        for i, (own, balls) in enumerate(zip(features, radii, strict=True))
    ]
    varied = [vendi_per_class(pca, images) for images in reference.unflatten(0, shape)]
    return Reference(
        features=features,
        radii=radii,
        pca=pca,
        judge_accuracy=_accuracy(judges.a, everything, split.labels),
        judge_b_accuracy=_accuracy(judges.b, everything, split.labels),
        coverage=torch.stack(inside).double().mean((0, 2)),
        vendi=torch.stack(varied).mean(0),
    )


REPEATED = 10
"""Different images a class of the generator that repeats a few."""


def reference_rows(
    judges: Judges, reference: Reference, data: PreparedData, split: Split, config: ScoreConfig
) -> list[dict[str, Any]]:
    """What images that no model made score: the scale that every score is read on.

    Real images of the split, halves of the reference held against each other; as many training images, whole, half of
    them replaced by one, as copies of a few and of one; under wrong labels; the class means; noise.
    """
    classes, n = data.classes, reference.per_class
    train = data.train.as_float(stratified_indices(data.train.labels, n, classes, seed=config.seed).flatten())
    shuffle = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive_seed("shuffled labels")))
    images = train.unflatten(0, (classes, n))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(derive_seed("noise"))).to(images)
    half, few = n // 2, min(REPEATED, n)
    candidates = {
        "training images": images,
        "training images, half of them replaced by one": torch.cat(
            [images[:, :half], images[:, :1].expand(-1, n - half, -1)], 1
        ),
        f"{few} training images a class, repeated": images[:, torch.arange(n) % few],
        "one training image a class, repeated": images[:, :1].expand_as(images),
        "training images under shuffled labels": train[shuffle.to(train.device)].view_as(images),
        "the mean image of each class": class_means(data.train, classes)[:, None].expand_as(images),
        "noise": noise,
    }
    rows = [_row(name, judges, reference, drawn) for name, drawn in candidates.items()]
    return [_real_row(judges, reference, data, split, config), *rows]


def _row(name: str, judges: Judges, reference: Reference, images: Float[Tensor, "K R D"]) -> dict[str, Any]:
    """Scores of images of each class against the first draw."""
    classes, n = images.shape[:2]
    labels = torch.arange(classes).repeat_interleave(n)
    logits, features = judge_outputs(judges.a, images.flatten(0, 1))
    predicted = logits.argmax(-1).cpu()
    row: dict[str, Any] = {
        "images": name,
        "conditional_accuracy": conditional_accuracy(predicted, labels, classes=classes).macro,
    }
    if reference.enough:
        inside = covered_per_class(reference.features[0], reference.radii[0], features.unflatten(0, (classes, n)))
        coverage = float(inside.double().mean())
        read = vendi_of_read(reference.pca, images, predicted.view(classes, n))
        row |= {
            "coverage": coverage,
            "coverage_relative": coverage / float(reference.coverage.mean()),
            "vendi_ratio_read": float((read / reference.vendi).mean()),
        }
    return row


def _real_row(
    judges: Judges, reference: Reference, data: PreparedData, split: Split, config: ScoreConfig
) -> dict[str, Any]:
    """Real images of the split as if generated: one half of the reference against the other, which share none."""
    classes, n = data.classes, reference.per_class
    half = n // 2
    name = f"real images of this split, {half} a class"
    rows = stratified_indices(split.labels, n, classes, seed=config.seed)[:, half : 2 * half]
    row = _row(name, judges, reference, split.as_float(rows.flatten()).unflatten(0, rows.shape))
    if not reference.enough:
        return row
    own = reference.features[0]
    k = min(config.neighbours, half - 1)
    radii = torch.stack([knn_radii(f[:half], k) for f in own])
    sample = stratified_indices(data.train.labels, half, classes, seed=config.seed).flatten()
    trained = judge_outputs(judges.a, data.train.as_float(sample))[1].unflatten(0, (classes, half))
    coverage, ceiling = (
        float(covered_per_class(own[:, :half], radii, other).double().mean()) for other in (own[:, half:], trained)
    )
    pixels = split.as_float(stratified_indices(split.labels, half, classes, seed=config.seed).flatten()).unflatten(
        0, (classes, half)
    )
    against = vendi_per_class(reference.pca, pixels)
    read = vendi_per_class(reference.pca, split.as_float(rows.flatten()).unflatten(0, rows.shape))
    return row | {
        "coverage": coverage,
        "coverage_relative": coverage / ceiling,
        "vendi_ratio_read": float((read / against).mean()),
    }


def _accuracy(judge: Judge, x: Tensor, labels: Tensor) -> float:
    return float((predict_logits(judge, x).argmax(-1) == labels).double().mean())


def covered_per_class(
    features: Float[Tensor, "K R F"], radii: Float[Tensor, "K R"], generated: Float[Tensor, "K M F"]
) -> Bool[Tensor, "K R"]:
    return torch.stack([covered(f, r, g) for f, r, g in zip(features, radii, generated, strict=True)]).cpu()


def vendi_per_class(pca: PixelPCA, images: Float[Tensor, "K R D"]) -> Float[Tensor, " K"]:
    return torch.tensor([vendi_score(pca.project(x)) for x in images], dtype=torch.float64)


def vendi_of_read(pca: PixelPCA, images: Float[Tensor, "K R D"], predicted: Int[Tensor, "K R"]) -> Float[Tensor, " K"]:
    """Effective number of different images among those that are read as their label; 0 where none is."""
    found = []
    for label, (own, read) in enumerate(zip(images, predicted, strict=True)):
        right = own[(read == label).to(own.device)]
        found.append(vendi_score(pca.project(right)) if len(right) else 0.0)
    return torch.tensor(found, dtype=torch.float64)
