"""Stratified splits and batches in memory: sizes within one, every image once."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from raw_files import SPLITS, label_lists
from torchvision.transforms.functional import to_tensor

from pipeline.data.splits import Split, stratified_mask


@given(label_lists, st.floats(0, 1), st.integers(0, 2**40))
def test_a_stratified_subset_has_the_asked_size_and_every_class_within_one_of_its_share(labels, fraction, seed):
    labels = torch.tensor(labels)
    count = round(fraction * len(labels))
    mask = stratified_mask(labels, count, torch.Generator().manual_seed(seed))
    assert mask.sum() == count
    sizes, taken = labels.bincount(minlength=7), labels[mask].bincount(minlength=7)
    assert ((taken - sizes * count / len(labels)).abs() < 1).all()


@given(label_lists, st.integers(0, 2**40))
def test_the_same_seed_draws_the_same_subset(labels, seed):
    labels = torch.tensor(labels)
    first, second = (stratified_mask(labels, len(labels) // 2, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first.equal(second)


def test_every_item_of_a_class_is_equally_likely_to_be_drawn(generator):
    labels = torch.tensor([0] * 8 + [1] * 4)
    draws = 1000
    share = sum(stratified_mask(labels, 3, generator).float() for _ in range(draws)) / draws
    assert (share - 1 / 4).abs().max() < 4 * math.sqrt(1 / 4 * 3 / 4 / draws)


def test_batches_have_every_image_once_in_order_with_its_own_label(numbered):
    batches = list(numbered.batches(64))
    assert [len(y) for _, y in batches] == [64, 64, 64, 8]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    assert y.equal(numbered.labels)
    assert x.equal(numbered.as_float())
    torch.testing.assert_close(x[:, 0] * 255, y.float())


def test_pixels_are_torchvisions_to_tensor_exactly():
    every_grey = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    x = Split(every_grey, torch.zeros(1, dtype=torch.int64)).as_float()
    assert x.dtype == torch.float32
    assert x.equal(to_tensor(every_grey[0].numpy()).flatten(1).reshape(1, 256))
    assert (x.min(), x.max()) == (0, 1)


def test_as_float_takes_slices_and_indices(numbered):
    assert numbered.as_float(slice(3, 7)).equal(numbered.as_float()[3:7])
    assert numbered.as_float(torch.tensor([5, 2])).equal(numbered.as_float()[[5, 2]])
    assert numbered.as_float(slice(0, 0)).shape == (0, numbered.pixels)


def test_a_split_moves_between_devices(digits):
    moved = digits.to("meta")  # stands in for a GPU where there is none
    assert {getattr(moved, name).images.device.type for name in SPLITS} == {"meta"}
    assert moved.class_names == digits.class_names
