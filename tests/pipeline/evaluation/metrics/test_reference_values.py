"""Generators that need no training, with known faults: each score must see its fault and miss the others'.

On scikit-learn's digits everywhere, on real MNIST where it is at hand; with real MNIST also the published values.
The features are centred PCA pixels and the judge is a nearest-neighbour classifier in them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.evaluation.metrics.diversity import PixelPCA, pairwise_l2, pairwise_ssim, vendi_ratio, vendi_score
from pipeline.evaluation.metrics.frechet import frechet_distance
from pipeline.evaluation.metrics.neighbours import class_coverage, coverage, expected_coverage
from pipeline.evaluation.metrics.per_class import per_class
from pipeline.evaluation.metrics.rates import conditional_accuracy


def mnist_images(name):
    raw = Path(os.environ["CVAE_PIPE_DATA_DIR"]) / "MNIST" / "raw"
    pixels = np.fromfile(raw / f"{name}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 28, 28)
    labels = np.fromfile(raw / f"{name}-labels-idx1-ubyte", np.uint8)[8:]
    return torch.from_numpy(pixels) / 255, torch.from_numpy(labels).long()


@dataclass
class World:
    """Real images in order of class, n of each: a reference, a disjoint sample; and training images for the judge."""

    n: int
    real: Tensor
    held_out: Tensor
    train: Tensor
    labels: Tensor
    pca: PixelPCA

    def __post_init__(self):
        from sklearn.neighbors import KNeighborsClassifier

        train_labels = torch.arange(10).repeat_interleave(len(self.train) // 10)
        self.classifier = KNeighborsClassifier(1).fit(self.pca.project(self.train).numpy(), train_labels.numpy())

    def accuracy(self, images, labels):
        predicted = torch.from_numpy(self.classifier.predict(self.pca.project(images).numpy()))
        return conditional_accuracy(predicted, labels, classes=10).macro

    def coverage(self, images, labels):
        project = self.pca.project
        real, held_out = (project(self.real), self.labels), (project(self.held_out), self.labels)
        return class_coverage(real, (project(images), labels), held_out, classes=10)

    def vendi_ratio(self, images, labels):
        sample, real = (self.pca.project(images), labels), (self.pca.project(self.real), self.labels)
        return float(np.mean(per_class(vendi_ratio, sample, real, classes=10)))

    def pairwise_l2(self, images, labels):
        generator = torch.Generator().manual_seed(0)
        return float(np.mean(per_class(lambda x: pairwise_l2(x, generator=generator), (images, labels), classes=10)))

    def gaussian(self, spread):
        """Per class, PCA coordinates from a Gaussian of the class's mean and spread**2 times its covariance."""
        generator = torch.Generator().manual_seed(0)
        images = []
        for codes in self.pca.project(self.train).chunk(10):
            eps = torch.randn(self.n, len(codes), generator=generator) / len(codes) ** 0.5
            drawn = codes.mean(0) + spread * eps @ (codes - codes.mean(0))  # eps mixes centred rows: their covariance
            images.append(self.pca.mean + drawn @ self.pca.components)
        return torch.cat(images).clamp(0, 1).reshape(-1, *self.real.shape[1:])


def by_class(images, labels, sizes):
    """As many random images of each class as `sizes` says, cut into that many disjoint parts in order of class.

    Random, because writers follow one another in both data sets: early and late images differ in distribution.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    parts = [images[labels == c][: sum(sizes)].split(sizes) for c in range(10)]
    return [torch.cat(part) for part in zip(*parts, strict=True)]


@pytest.fixture(scope="module", params=["digits", pytest.param("mnist", marks=pytest.mark.mnist)])
def world(request):
    if request.param == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = torch.from_numpy(digits.images).float() / 16, torch.from_numpy(digits.target).long()
        n = 58  # the rarest digit has 174 images
        sizes = [n, n, n]
    else:
        images, labels = mnist_images("train")
        n = 500
        sizes = [n, n, 1000]
    real, held_out, train = by_class(images, labels, sizes)
    pca = PixelPCA.fit(train.flatten(1))
    return World(n, real, held_out, train, torch.arange(10).repeat_interleave(n), pca)


def test_real_images_reach_the_ceiling_of_every_score(world):
    scores = world.coverage(world.held_out, world.labels)
    assert world.accuracy(world.held_out, world.labels) > 0.93
    assert scores.relative == 1
    assert scores.ceiling == pytest.approx(expected_coverage(world.n, world.n, 5), abs=0.03)
    assert world.vendi_ratio(world.held_out, world.labels) == pytest.approx(1, abs=0.06)


def test_variety_falls_with_the_spread_of_the_generator(world):
    samples = [world.held_out, *(world.gaussian(spread) for spread in (1, 0.5, 0.02))]
    vendi = [world.vendi_ratio(images, world.labels) for images in samples]
    l2 = [world.pairwise_l2(images, world.labels) for images in samples]
    assert vendi == sorted(vendi, reverse=True)
    assert l2 == sorted(l2, reverse=True)
    assert l2[-1] < 0.05 * l2[0]


def test_shuffled_labels_cost_accuracy_and_class_coverage_but_not_pooled_coverage(world):
    order = torch.randperm(len(world.labels), generator=torch.Generator().manual_seed(0))
    images = world.held_out[order]
    assert world.accuracy(images, world.labels) == pytest.approx(0.1, abs=0.04)
    # A tenth of each class's images are of that class: coverage is what so few images reach.
    few = expected_coverage(world.n, world.n // 10, 5)
    assert world.coverage(images, world.labels).macro == pytest.approx(few, abs=0.1)
    assert coverage(world.pca.project(world.real), world.pca.project(images)) > 0.9


def test_one_image_per_class_keeps_accuracy_and_loses_coverage_and_variety(world):
    from sklearn.neighbors import NearestCentroid

    codes, n = world.pca.project(world.held_out), world.n
    centroids = NearestCentroid().fit(codes.numpy(), world.labels.numpy()).centroids_
    typical = torch.cdist(torch.from_numpy(centroids).float(), codes).argmin(1)
    images = world.held_out[typical].repeat_interleave(n, 0)
    assert world.accuracy(images, world.labels) > 0.85
    # Three times what a random image covers: a typical one is a neighbour of more than its share.
    assert world.coverage(images, world.labels).macro < 3 * expected_coverage(n, 1, 5)
    ones = per_class(vendi_score, (world.pca.project(images), world.labels), classes=10)
    assert ones == pytest.approx([1] * 10)


def test_labels_shifted_by_one_have_no_accuracy_and_full_variety(world):
    shifted = (world.labels + 1) % 10
    assert world.accuracy(world.held_out, shifted) < 0.02
    assert world.coverage(world.held_out, shifted).relative < 0.1
    assert world.vendi_ratio(world.held_out, shifted) > 0.9


def test_uniform_noise_covers_nothing(world):
    noise = torch.rand(world.real.shape, generator=torch.Generator().manual_seed(0))
    # In all pixels: a PCA fitted on digits would throw most of the noise away.
    per_digit = per_class(coverage, (world.real.flatten(1), world.labels), (noise.flatten(1), world.labels), classes=10)
    assert per_digit == [0] * 10


def test_frechet_distance_within_classes_sees_wrong_labels_that_the_pooled_one_misses(world):
    real, sample = world.pca.project(world.real), world.pca.project(world.held_out)

    def intra(labels):
        return float(np.mean(per_class(frechet_distance, (real, world.labels), (sample, labels), classes=10)))

    assert intra((world.labels + 1) % 10) > 3 * intra(world.labels)


def test_per_class_passes_each_class_alone():
    values, labels = torch.tensor([1.0, 2.0, 10.0]), torch.tensor([1, 1, 0])
    assert per_class(lambda a, b: (a.sum() - b.sum()).item(), (values, labels), (2 * values, labels), classes=2) == [
        -10,
        -3,
    ]


@pytest.mark.mnist
def test_within_class_variety_of_the_mnist_test_images():
    images, labels = mnist_images("t10k")
    exact = per_class(lambda x: torch.nn.functional.pdist(x.flatten(1)).mean().item(), (images, labels), classes=10)
    known = [9.80, 6.43, 9.92, 9.24, 8.91, 9.63, 9.26, 8.45, 9.41, 8.53]
    assert exact == pytest.approx(known, abs=0.035)
    generator = torch.Generator().manual_seed(0)
    l2 = per_class(lambda x: pairwise_l2(x, generator=generator), (images, labels), classes=10)
    assert l2 == pytest.approx(exact, abs=0.15)  # 2,000 pairs: standard error about 0.04
    assert np.mean(l2) == pytest.approx(8.958, abs=0.05)


@pytest.mark.mnist
def test_within_class_structural_similarity_of_the_mnist_test_images():
    generator = torch.Generator().manual_seed(0)
    ssim = per_class(lambda x: pairwise_ssim(x, pairs=500, generator=generator), mnist_images("t10k"), classes=10)
    assert np.mean(ssim) == pytest.approx(0.458, abs=0.01)
