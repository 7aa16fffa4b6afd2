"""What real images of a split score: the statistics that generated ones are held against, and the rows beside them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.config.sections import ScoreConfig
from pipeline.data.splits import PreparedData, Split
from pipeline.evaluation.judges.networks import Judge, Judges, judge_outputs, predict_logits
from pipeline.evaluation.metrics.diversity import PixelPCA, vendi_score
from pipeline.evaluation.metrics.neighbours import covered, growth_of_coverage, knn_radii
from pipeline.evaluation.thresholds import FEWEST_IMAGES

PCA_COMPONENTS = 50
PCA_IMAGES, PCA_VALUES = 20_000, 2**26
"""Training images that they are fitted on, at most, and values of all these: 268 MB."""


MOST_DRAWS = 5
OVERLAP = 0.1
"""Of its images that two draws may share, at most."""


@dataclass(frozen=True)
class Reference:
    """What real images of one split score, and what generated ones are held against. R images per class, F features.

    Coverage depends on R. It is the same for every split of a data set, so that their scores may be put side by side:
    what the smallest class of all splits has. Where a split has more there are several draws T of R images, whose
    scores are averaged. A class that is too small to be scored is none of the K here: see `scored_classes`.
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
    growth: Float[Tensor, " R"]
    """Mean coverage by 1, 2, .. R real training images of each class."""
    classes: tuple[int, ...]
    """The label of each of the K classes that have scores of coverage and diversity."""

    def equivalent(self, coverage: float) -> float:
        """How many real images of a class cover as much, over R; 0 .. 1.

        Coverage itself saturates: half of the samples may be copies of one image, and nine tenths of it are left.
        Samples that cover nothing take their own share of this.
        """
        grown = torch.cat([torch.zeros(1, dtype=torch.float64), self.growth])
        above = int(torch.searchsorted(grown, coverage))  # the first number of images that covers as much
        if above in (0, len(grown)):
            return float(above > 0)
        low, high = float(grown[above - 1]), float(grown[above])
        return (above - 1 + (coverage - low) / (high - low)) / self.per_class

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


def drawn_of_each(
    labels: Int[Tensor, " N"], per_class: int, classes: int | Sequence[int], *, seed: int
) -> list[Int[Tensor, " R"]]:
    """At most `per_class` indices of every class 0 .. K-1, or of these, drawn without replacement, the same for every
    model."""
    rows = []
    for label in range(classes) if isinstance(classes, int) else classes:
        members = (labels == label).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(derive_seed("reference", seed, label))
        rows.append(members[torch.randperm(len(members), generator=generator)[:per_class]])
    return rows


def stratified_indices(
    labels: Int[Tensor, " N"], per_class: int, classes: int | Sequence[int], *, seed: int
) -> Int[Tensor, "K R"]:
    """The same where every class has as many."""
    return torch.stack(drawn_of_each(labels, per_class, classes, seed=seed))


def fairly_drawn(labels: Int[Tensor, " N"], per_class: int, classes: int, *, seed: int) -> list[Int[Tensor, " R"]]:
    """As many indices of each class as the smallest has, at most `per_class`; where that is hardly any, as many as each
    class has: a class of one image leaves the others their say."""
    smallest = int(torch.bincount(labels, minlength=classes).min())
    most = min(per_class, smallest) if smallest >= FEWEST_IMAGES else per_class
    return drawn_of_each(labels, most, classes, seed=seed)


def class_means(part: Split, classes: int) -> Float[Tensor, "K D"]:
    """Mean image of each class, in [0, 1]."""
    return torch.stack([part.as_float((part.labels == c).nonzero().squeeze(1)).mean(0) for c in range(classes)])


def images_of_classes(data: PreparedData) -> dict[str, Int[Tensor, " K"]]:
    """How many images each split has of each class."""
    return {
        name: torch.bincount(data.split(name).labels.cpu(), minlength=data.classes) for name in ("train", "val", "test")
    }


def smallest_of_splits(data: PreparedData) -> list[int]:
    """What every split has of a class, by class."""
    return [int(count) for count in torch.stack([*images_of_classes(data).values()]).min(0).values]


def too_small_classes(data: PreparedData) -> list[int]:
    """Classes with fewer than FEWEST_IMAGES in a split."""
    return [label for label, count in enumerate(smallest_of_splits(data)) if count < FEWEST_IMAGES]


def scored_classes(data: PreparedData) -> tuple[int, ...]:
    """Classes with scores of coverage and diversity: those with images enough in every split; all where none has."""
    too_small = too_small_classes(data)
    return tuple(label for label in range(data.classes) if label not in too_small) or tuple(range(data.classes))


def images_per_class(data: PreparedData, limit: int) -> int:
    """R: what every scored class of every split has, at most `limit`."""
    counts = smallest_of_splits(data)
    return min(limit, *(counts[label] for label in scored_classes(data)))


def reference_indices(
    labels: Int[Tensor, " N"], per_class: int, classes: Sequence[int], *, seed: int
) -> Int[Tensor, "T K R"]:
    """Draws of `per_class` indices of every class, as many as fit without sharing more than OVERLAP, at most
    MOST_DRAWS; the first is that of `stratified_indices`."""
    counts = torch.bincount(labels.cpu(), minlength=max(classes) + 1)
    smallest = min(int(counts[label]) for label in classes)
    draws = max(1, min(MOST_DRAWS, int(smallest / per_class + OVERLAP)))
    order = stratified_indices(labels, smallest, classes, seed=seed)
    starts = [round(i * (smallest - per_class) / max(draws - 1, 1)) for i in range(draws)]
    return torch.stack([order[:, start : start + per_class] for start in starts])


def build_reference(
    judges: Judges, data: PreparedData, split: Split, config: ScoreConfig, *, draws: int = MOST_DRAWS
) -> Reference:
    """Reference features, radii and real scores of one split, from `draws` draws at most."""
    classes, n = scored_classes(data), images_per_class(data, config.per_class)
    rows = reference_indices(split.labels, n, classes, seed=config.seed)[:draws]  # (T, K, R)
    shape = rows.shape
    reference = split.as_float(rows.flatten())
    sample_rows = reference_indices(data.train.labels, n, classes, seed=config.seed)
    sample = data.train.as_float(sample_rows.flatten())
    features = judge_outputs(judges.a, reference)[1].unflatten(0, shape)  # (T, K, R, F)
    sample_features = judge_outputs(judges.a, sample)[1].unflatten(0, sample_rows.shape)
    k = min(config.neighbours, n - 1)
    radii = torch.stack([torch.stack([knn_radii(f, k) for f in draw]) for draw in features])
    everything = split.as_float(slice(None))
    pca = PixelPCA.fit(data.train.as_float(slice(0, min(PCA_IMAGES, PCA_VALUES // data.pixels))), PCA_COMPONENTS)
    varied = [vendi_per_class(pca, images) for images in reference.unflatten(0, shape)]
    grown = torch.stack(  # (T T', K, R): coverage by more and more of each draw of training images
        [
            torch.stack([growth_of_coverage(*of_class) for of_class in zip(own, balls, other, strict=True)])
            for own, balls in zip(features, radii, strict=True)
            for other in sample_features
        ]
    ).cpu()
    return Reference(
        features=features,
        radii=radii,
        pca=pca,
        judge_accuracy=_accuracy(judges.a, everything, split.labels),
        judge_b_accuracy=_accuracy(judges.b, everything, split.labels),
        coverage=grown.mean(0)[:, -1],
        vendi=torch.stack(varied).mean(0),
        growth=grown.mean((0, 1)),
        classes=classes,
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
    classes, n = reference.classes, reference.per_class
    train = data.train.as_float(stratified_indices(data.train.labels, n, classes, seed=config.seed).flatten())
    shuffle = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive_seed("shuffled labels")))
    images = train.unflatten(0, (len(classes), n))
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
        "the mean image of each class": class_means(data.train, data.classes)[[*classes], None].expand_as(images),
        "noise": noise,
    }
    rows = [
        {"images": name, **scores_of_images(judges, reference, drawn, classes)} for name, drawn in candidates.items()
    ]
    return [*_real_row(judges, reference, data, split, config), *rows]


def scores_of_images(
    judges: Judges, reference: Reference, images: Float[Tensor, "K R D"], labels: Sequence[int]
) -> dict[str, float]:
    """What images score against the first draw, whoever made them: R of each of these classes, all that are scored
    among them."""
    shape = images.shape[:2]
    logits, features = judge_outputs(judges.a, images.flatten(0, 1))
    predicted = logits.argmax(-1).cpu().view(shape)
    right = [int((own == label).sum()) / shape[1] for own, label in zip(predicted, labels, strict=True)]
    row = {"conditional_accuracy": sum(right) / len(right), "conditional_accuracy_worst_class": min(right)}
    if reference.enough:
        own = [labels.index(label) for label in reference.classes]
        inside = covered_per_class(reference.features[0], reference.radii[0], features.unflatten(0, shape)[own])
        coverage = float(inside.double().mean())
        read = vendi_of_read(reference.pca, images[own], predicted[own], reference.classes)
        row |= {
            "coverage": coverage,
            "coverage_relative": coverage / float(reference.coverage.mean()),
            "coverage_equivalent": reference.equivalent(coverage),
            "vendi_ratio_read": float((read / reference.vendi).mean()),
        }
    return row


def _real_row(
    judges: Judges, reference: Reference, data: PreparedData, split: Split, config: ScoreConfig
) -> list[dict[str, Any]]:
    """Real images of the split as if generated: one half of the reference against the other, which share none. No row
    where that is one image.

    Halves are smaller than the reference: their ratios are to training images of that size.
    """
    classes, half = reference.classes, reference.per_class // 2
    if not half:
        return []
    rows = stratified_indices(split.labels, 2 * half, classes, seed=config.seed)
    first, second = (split.as_float(r.flatten()).unflatten(0, r.shape) for r in (rows[:, :half], rows[:, half:]))
    row: dict[str, Any] = {
        "images": f"real images of this split, {half} a class",
        **scores_of_images(judges, reference, second, classes),
    }
    if not reference.enough:
        return [row]
    own = reference.features[0]
    halves = build_reference(judges, data, split, replace(config, per_class=half), draws=1)
    coverage = float(covered_per_class(halves.features[0], halves.radii[0], own[:, half : 2 * half]).double().mean())
    vendi = vendi_per_class(reference.pca, second) / vendi_per_class(reference.pca, first)
    found = {
        "coverage": coverage,
        "coverage_relative": coverage / float(halves.coverage.mean()),
        "coverage_equivalent": halves.equivalent(coverage),
        "vendi_ratio_read": float(vendi.mean()),
    }
    return [row | found]


def _accuracy(judge: Judge, x: Tensor, labels: Tensor) -> float:
    return float((predict_logits(judge, x).argmax(-1) == labels).double().mean())


def covered_per_class(
    features: Float[Tensor, "K R F"], radii: Float[Tensor, "K R"], generated: Float[Tensor, "K M F"]
) -> Bool[Tensor, "K R"]:
    return torch.stack([covered(f, r, g) for f, r, g in zip(features, radii, generated, strict=True)]).cpu()


def vendi_per_class(pca: PixelPCA, images: Float[Tensor, "K R D"]) -> Float[Tensor, " K"]:
    return torch.tensor([vendi_score(pca.project(x)) for x in images], dtype=torch.float64)


def vendi_of_read(
    pca: PixelPCA, images: Float[Tensor, "K R D"], predicted: Int[Tensor, "K R"], labels: Sequence[int]
) -> Float[Tensor, " K"]:
    """Effective number of different images among those that are read as their label; 0 where none is."""
    found = []
    for label, own, read in zip(labels, images, predicted, strict=True):
        right = own[(read == label).to(own.device)]
        found.append(vendi_score(pca.project(right)) if len(right) else 0.0)
    return torch.tensor(found, dtype=torch.float64)
