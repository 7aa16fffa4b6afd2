"""Generators whose truth is known: copies of all kinds are found, held-out images and honest models are not flagged."""

import pytest
import torch
from helpers import mnist_root

from pipeline.config.sections import DataConfig
from pipeline.data.preparing import prepare
from pipeline.evaluation.blur import blurred
from pipeline.evaluation.copying import SHOWN, copies_among, copying_metrics, surroundings
from pipeline.evaluation.metrics.neighbours import distance_blocks
from pipeline.evaluation.reference import stratified_indices

DRAWS = 20


def groups(part, rows):
    return part.as_float(rows.flatten()).unflatten(0, rows.shape)


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
    return groups(part, stratified_indices(part.labels, n, 10, seed=seed))


def copies(data, n, seed):
    return drawn(data.train, n, seed)


def blends(data, n, seed):
    """Means of a training image and its nearest neighbour of the class."""
    found = []
    for label, own in enumerate(copies(data, n, seed)):
        of_class = data.train.as_float((data.train.labels == label).nonzero().squeeze(1))
        second = torch.cat([block.topk(2, largest=False).indices[:, 1] for block in distance_blocks(own, of_class)])
        found.append((own + of_class[second]) / 2)
    return torch.stack(found)


def each(change):
    """A change of single images, of a sampler's groups."""

    def changed(data, n, seed):
        images = copies(data, n, seed)
        return change(images.flatten(0, 1).unflatten(1, data.shape)).flatten(1).unflatten(0, images.shape[:2])

    return changed


SAMPLES = 40
COPIES = {
    "copies": copies,
    "blurred by 0.7": each(lambda x: blurred(x, 0.7)),
    "blurred by 1": each(lambda x: blurred(x, 1.0)),
    "dimmed": each(lambda x: x * 0.7),
    "blends of two neighbours": blends,
}
SHIFTED = {"shifted by a pixel": each(lambda x: x.roll((1, 0), (1, 2)))}


def mixed(data, honest, generator, share, seed):
    """A share of the images of each class from a generator of copies, the others honest."""
    n = round(share * honest.shape[1])
    return torch.cat([generator(data, n, seed), honest[:, n:]], 1) if n else honest


@pytest.mark.parametrize("name", COPIES)
def test_a_sixth_of_copies_is_found_in_every_draw(world, name):
    data, around = world
    n = min(SAMPLES, int(data.test.labels.bincount().min()))
    found = [
        copying_metrics(
            copies_among(mixed(data, drawn(data.test, n, seed), COPIES[name], 1 / 6, seed), data, around), "val"
        )["val/data_copying_flagged"]
        for seed in range(DRAWS)
    ]
    assert sum(found) >= 0.95 * DRAWS


def test_copies_that_moved_by_a_pixel_are_found(mnist):
    """Of 28: a pixel of digits' 8 is three and a half of them, and cuts strokes off at the border."""
    around = surroundings(mnist, mnist.val)
    for seed in range(5):
        found = copies_among(
            mixed(mnist, drawn(mnist.test, SAMPLES, seed), SHIFTED["shifted by a pixel"], 1 / 6, seed), mnist, around
        )
        assert found.spaces["shape"].flagged
        assert not found.spaces["pixels"].flagged, "pixels alone do not see it"


def test_one_class_of_copies_is_found(world):
    data, around = world
    honest = drawn(data.test, 30, 0)
    honest[3] = copies(data, 30, 0)[3]
    found = copies_among(honest, data, around)
    assert found.spaces["pixels"].flagged
    assert found.spaces["pixels"].per_class[3] == 1


def test_held_out_images_are_not_flagged(world):
    data, around = world
    n = min(100, int(data.test.labels.bincount().min()))
    found = [copies_among(drawn(data.test, n, seed), data, around) for seed in range(DRAWS)]
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
