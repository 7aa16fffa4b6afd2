"""Nearness to training images: what it is of copies, what undoes a shift, and how often an honest model is flagged."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from pipeline.evaluation.blur import blurred
from pipeline.evaluation.metrics.copying import ALLOWED, FAR, LEVEL, near_share, nearness, shapes


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_nearness_is_the_distance_over_the_room_around_the_training_point():
    train = torch.tensor([[0.0], [4.0], [5.0]])
    near, which = nearness(torch.tensor([[1.0], [4.75]]), train)
    assert which.tolist() == [0, 2]
    assert near.tolist() == [1 / 4, 0.25 / 1]


def test_nearness_is_that_of_scikit_learns_neighbours():
    train, points = normal(300, 7), normal(50, 7, 1)
    near, which = nearness(points, train)
    distance, index = NearestNeighbors(n_neighbors=1).fit(train.numpy()).kneighbors(points.numpy())
    room = NearestNeighbors(n_neighbors=2).fit(train.numpy()).kneighbors(train.numpy()[index[:, 0]])[0][:, 1]
    assert which.tolist() == index[:, 0].tolist()
    np.testing.assert_allclose(near.numpy(), distance[:, 0] / room, rtol=1e-5)


def test_a_copy_is_at_zero_even_of_an_image_that_is_there_twice():
    train = normal(20, 5)
    twice = torch.cat([train, train[3:4]])
    near, which = nearness(train, twice)
    assert near.tolist() == [0] * 20
    assert which.tolist() == list(range(20))
    moved, _ = nearness(train[3:4] + 0.01, twice)
    assert 0 < float(moved) < 0.1, "the room around an image that is there twice is that to another image"


def digit():
    image = torch.zeros(28, 28)
    image[8:20, 12:15] = 1
    image[8:11, 12:18] = 0.6
    return image


@pytest.mark.parametrize("shift", [(1, 0), (-2, 3), (0, -4)])
def test_a_shape_is_the_same_wherever_it_lies(shift):
    image = digit()
    both = shapes(torch.stack([image, image.roll(shift, (0, 1))]))
    assert float((both[0] - both[1]).norm()) < 1e-3


def test_a_shape_is_the_same_at_any_contrast_and_nearly_so_when_blurred():
    image = digit()
    own, dim, soft, other = shapes(
        torch.stack([image, image * 0.5, blurred(image[None], 0.7)[0], image.T.contiguous()])
    )
    assert float((own - dim).norm()) < 1e-5
    assert float((own - soft).norm()) < 0.1 < 0.5 < float((own - other).norm())


def test_shapes_have_unit_norm_and_an_empty_image_has_none():
    found = shapes(torch.stack([digit(), torch.zeros(28, 28)]))
    assert found.norm(dim=1).tolist() == [pytest.approx(1), 0]


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (28, 20), (14, 14), (40, 64), (5, 3)])
def test_shapes_of_any_size(size):
    found = shapes(torch.rand(3, *size, generator=torch.Generator().manual_seed(0)))
    assert found.isfinite().all()
    assert found.shape[1] <= max(14 * math.ceil(size[1] * 14 / size[0]), size[0] * size[1])


def distinct(classes, n):
    return torch.arange(classes * n).view(classes, n)


def test_a_training_image_counts_once_unless_the_samples_are_copies_of_it():
    near, which = torch.tensor([[0.5, 0.5, 0.5, 0.9]]), torch.tensor([[7, 7, 8, 9]])
    assert near_share(near, which, 0.6).share == 2 / 4
    assert near_share(near / 2, which, 0.6).share == 4 / 4, "0.25 is below half of 0.6, and 0.45 below 0.6"


def test_the_share_is_that_of_images_below_the_bound():
    found = near_share(torch.tensor([[0.1, 0.5, 0.9, 0.9], [0.9, 0.9, 0.9, 0.2]]), distinct(2, 4), 0.6)
    assert found.share == 3 / 8
    assert found.per_class == [0.5, 0.25]
    assert 0 < found.interval[0] < found.share < found.interval[1] < 1


def test_a_model_as_near_as_is_allowed_is_flagged_no_more_often_than_said():
    rng = np.random.default_rng(0)
    flagged = [
        near_share(torch.from_numpy((rng.random((10, 200)) > ALLOWED).astype("f4")), distinct(10, 200), 0.5).flagged
        for _ in range(1000)
    ]
    # two spaces are tested at LEVEL together; 4 of 1,000 at a true .0005 has a chance below .001
    assert sum(flagged) <= max(3, 1000 * LEVEL)


@pytest.mark.parametrize(("hits", "expected"), [([20] * 10, True), ([200, *[2] * 9], True), ([6] * 10, False)])
def test_a_tenth_of_copies_or_one_class_of_them_is_flagged(hits, expected):
    near = torch.ones(10, 200)
    for row, count in zip(near, hits, strict=True):
        row[:count] = 0
    assert near_share(near, distinct(10, 200), 0.5).flagged is expected


def test_black_on_white_has_the_shapes_of_white_on_black_and_colour_those_of_its_ink():
    images = torch.stack([digit(), digit().roll((2, -1), (0, 1))])
    torch.testing.assert_close(shapes(1 - images, 1.0), -shapes(images), atol=1e-5, rtol=0)
    colour = torch.stack([images, images, 0 * images], dim=1)  # yellow on black
    assert (shapes(colour)[0] @ shapes(colour)[1]) > 0.99
    assert shapes(colour).norm(dim=1).tolist() == pytest.approx([1, 1])


def test_where_all_training_images_are_one_nothing_is_near_to_it():
    one = torch.rand(1, 5).repeat(3, 1)
    distances, _ = nearness(torch.cat([one[:1], torch.rand(1, 5)]), one)
    assert distances.tolist() == [FAR, FAR]
