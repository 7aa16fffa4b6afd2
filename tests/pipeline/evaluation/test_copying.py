"""Generators whose truth is known: copies of all kinds are found, held-out images and honest models are not flagged."""

import pytest
import torch
from helpers import mnist_root

from benchmarks.generators import COPIES, copies, enough, mixed, one_class, real
from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.evaluation.copying import SHOWN, copies_among, copying_metrics, surroundings
from pipeline.evaluation.reference import stratified_indices

DRAWS = 10


@pytest.fixture(scope="module")
def mnist():
    """A tenth of MNIST: distances to all of it take minutes over the draws of this file."""
    root = mnist_root()
    if root is None:
        pytest.skip("no MNIST: set CVAE_PIPE_DATA_DIR")
    return prepare(DataConfig(dataset="mnist", train_limit=6_000, test_limit=2_000), root)


@pytest.fixture(scope="module", params=["digits", "mnist"])
def world(request):
    """A data set, the bounds from its validation images, and a sampler of honest images: those of test."""
    data = request.getfixturevalue(request.param)
    around = surroundings(data, data.val)
    return data, around


def drawn(part, n, seed):
    return enough(part, 10, n, seed)


SAMPLES = 100
"""Half of what a run draws."""


@pytest.mark.parametrize("name", [name for name in COPIES if "shifted" not in name])
def test_a_sixth_of_copies_is_found_in_every_draw(world, name):
    data, around = world
    found = [
        copying_metrics(
            copies_among(mixed(data, drawn(data.test, SAMPLES, seed), COPIES[name], 1 / 6, seed), data, around), "val"
        )["val/data_copying_flagged"]
        for seed in range(DRAWS)
    ]
    assert sum(found) == DRAWS


def test_copies_that_moved_by_a_pixel_are_found(mnist):
    """Of 28: a pixel of digits' 8 is three and a half of them, and cuts strokes off at the border."""
    around = surroundings(mnist, mnist.val)
    for seed in range(3):
        found = copies_among(
            mixed(mnist, drawn(mnist.test, SAMPLES, seed), COPIES["shifted by a pixel"], 1 / 6, seed), mnist, around
        )
        assert found.spaces["shape"].flagged
        assert not found.spaces["pixels"].flagged, "pixels alone do not see it"


def test_one_class_of_copies_is_found(world):
    data, around = world
    found = copies_among(one_class(data, drawn(data.test, SAMPLES, 3), copies, 3), data, around)
    assert found.spaces["pixels"].flagged
    assert found.spaces["pixels"].per_class[3] == 1


def test_held_out_images_are_not_flagged(world):
    data, around = world
    n = min(100, int(data.test.labels.bincount().min()))
    found = [copies_among(real(data.test, 10, n, seed), data, around) for seed in range(DRAWS)]
    assert not any(near.flagged for one in found for near in one.spaces.values())
    mean = sum(one.spaces["shape"].share for one in found) / DRAWS
    assert mean < 0.03


def test_the_pairs_shown_are_the_nearest_and_their_sources(digits):
    around = surroundings(digits, digits.val)
    images = drawn(digits.test, 30, 0)
    images[2, 5] = digits.train.as_float(stratified_indices(digits.train.labels, 1, 10, seed=1)[2])[0]
    found = copies_among(images, digits, around)
    assert len(found.images) == len(found.sources) == len(found.nearness) == SHOWN
    assert torch.equal(found.images[0], found.sources[0])
    assert found.nearness[0] == 0
    assert found.nearness == sorted(found.nearness)


def test_without_labels_samples_are_held_against_all_training_images(digits):
    around = surroundings(digits, digits.val)
    seven = digits.train.as_float((digits.train.labels == 7).nonzero().squeeze(1))
    found = copies_among(seven[None, :50], digits, around)
    assert found.spaces["pixels"].per_class == [1.0]
    assert found.spaces["pixels"].flagged
