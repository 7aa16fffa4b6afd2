"""Noise that two runs share, grids cell by cell, sheets pixel by pixel."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from pipeline.grids import paired_rows, read_grid, save_grid, shown_grid, tile
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.likelihoods import BERNOULLI
from pipeline.models.sampling import (
    balanced_labels,
    conditional_samples,
    decode_means,
    fixed_noise,
    generation_grid,
    reconstructions,
)

K, D, Z = 3, 12, 4


def build(kind="cvae", latent_dim=Z):
    torch.manual_seed(0)
    return Autoencoder(kind, pixels=D, classes=K, latent_dim=latent_dim, hidden=(8,))


class Recorder(torch.nn.Module):
    """A model that keeps what it is asked to decode, and paints its first z."""

    classes, latent_dim, likelihood = K, Z, BERNOULLI

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.z, self.y = [], []

    def decode(self, z, y):
        self.z.append(z)
        self.y.append(y)
        return z[:, :1].expand(-1, D)


# ---- noise


@pytest.mark.parametrize(("small", "large"), [(1, 2), (2, 20), (20, 64)])
def test_models_of_any_latent_size_see_the_same_z_in_the_dimensions_they_share(small, large):
    assert torch.equal(fixed_noise(50, small, seed=0), fixed_noise(50, large, seed=0)[:, :small])


def test_noise_is_standard_normal_not_truncated_and_uncorrelated():
    z = fixed_noise(50_000, 5, seed=0)
    assert z.shape == (50_000, 5)
    for column in z.T:
        assert kstest(column.numpy(), "norm").pvalue > 1e-3
    assert z.abs().max() > 4
    off_diagonal = np.corrcoef(z.T.numpy()) - np.eye(5)
    assert np.abs(off_diagonal).max() < 4 / 50_000**0.5


def test_noise_depends_on_its_seed_and_not_on_the_global_one():
    torch.manual_seed(1)
    first = fixed_noise(10, 3, seed=0)
    torch.manual_seed(2)
    assert torch.equal(first, fixed_noise(10, 3, seed=0))
    assert not torch.equal(first, fixed_noise(10, 3, seed=1))


# ---- samples


def test_labels_are_balanced_and_in_order():
    assert balanced_labels(2, 3).tolist() == [0, 0, 1, 1, 2, 2]


def test_samples_are_as_many_of_each_class_with_their_own_z():
    model = Recorder()
    images, labels = conditional_samples(model, per_class=4, seed=7)
    assert images.shape == (K * 4, D)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(torch.cat(model.y), labels)
    assert torch.equal(torch.cat(model.z), fixed_noise(12, Z, seed=7))
    assert torch.equal(images[:, 0], torch.cat(model.z)[:, 0].sigmoid())


def test_samples_are_bernoulli_means_that_the_label_decides():
    images, _ = conditional_samples(build(), per_class=5, seed=0)
    assert ((images > 0) & (images < 1)).all()
    same_z = fixed_noise(5, Z, seed=0)
    of_class = [decode_means(build(), same_z, torch.full((5,), c)) for c in range(K)]
    assert not torch.equal(of_class[0], of_class[1])


def test_decoding_in_parts_changes_nothing():
    z, y = fixed_noise(11, Z, seed=0), torch.arange(11) % K
    torch.testing.assert_close(decode_means(build(), z, y, batch=3), decode_means(build(), z, y))


def test_sampling_leaves_no_gradient_and_puts_the_model_in_eval_mode():
    model = build().train()
    images, _ = conditional_samples(model, per_class=2, seed=0)
    assert not images.requires_grad
    assert not model.training


# ---- grids


def test_a_generation_grid_has_a_row_per_class_and_the_same_z_down_a_column():
    model = Recorder()
    generation_grid(model, columns=5, seed=0)
    z, y = torch.cat(model.z).view(K, 5, Z), torch.cat(model.y).view(K, 5)
    assert torch.equal(y, torch.arange(K)[:, None].expand(K, 5))
    for row in z:
        assert torch.equal(row, fixed_noise(5, Z, seed=0))


def test_two_runs_of_one_latent_size_are_asked_for_the_same_grid():
    one, other = Recorder(), Recorder()
    generation_grid(one)
    torch.manual_seed(99)
    generation_grid(other)
    assert torch.equal(torch.cat(one.z), torch.cat(other.z))


def test_the_rows_of_a_model_that_takes_no_label_are_all_alike():
    rows = generation_grid(build("vae"), columns=4).view(K, 4, D)
    torch.testing.assert_close(rows[0], rows[1])
    torch.testing.assert_close(rows[0], rows[2])


def test_a_reconstruction_is_decoded_from_the_mean_of_q(generator):
    model, x, y = build(), torch.rand(5, D, generator=generator), torch.arange(5) % K
    mu, _ = model.encode(x, y)
    expected = model.decode(mu, y).sigmoid()
    assert torch.equal(reconstructions(model, x, y), expected)
    assert torch.equal(reconstructions(model, x, y), reconstructions(model, x, y))


# ---- sheets


def test_a_sheet_puts_every_image_row_by_row_with_a_grey_gap_between(generator):
    H, W, columns = 3, 5, 4
    images = torch.rand(6, H * W, generator=generator)
    sheet = tile(images, columns=columns, shape=(1, H, W), gap=2)
    assert sheet.shape == (2 * H + 2, columns * W + 3 * 2)
    assert sheet.dtype == torch.uint8
    grey = np.full(sheet.shape, 128)
    for i, image in enumerate(images.numpy().reshape(-1, H, W)):
        top, left = i // columns * (H + 2), i % columns * (W + 2)
        grey[top : top + H, left : left + W] = np.round(image * 255)
    assert np.array_equal(sheet.numpy(), grey)


def test_a_sheet_of_colour_has_red_first_and_last_an_axis_of_three():
    image = torch.zeros(3, 2, 2)
    image[0] = 1  # red
    sheet = tile(image.flatten()[None].repeat(3, 1), columns=2, shape=(3, 2, 2))
    assert sheet.shape == (5, 5, 3)
    assert sheet[0, 0].tolist() == [255, 0, 0]
    assert sheet[0, 2].tolist() == [128, 128, 128]


@pytest.mark.parametrize(("classes", "blocks", "rows", "across"), [(20, 1, 20, 10), (26, 2, 13, 5), (100, 5, 20, 2)])
def test_a_sheet_of_many_classes_is_shown_in_blocks_side_by_side(tmp_path, classes, blocks, rows, across):
    images = (torch.arange(classes * 10) % 256 / 255)[:, None].repeat(1, 6)
    save_grid(images, tmp_path / "grid.png", 10, (1, 2, 3))
    assert read_grid(tmp_path / "grid.png").shape == (classes * 3 - 1, 39)
    shown = shown_grid(tmp_path / "grid.png")
    block = across * 4 - 1
    assert shown.shape == (rows * 3 - 1, blocks * block + (blocks - 1) * 4)
    for label in range(classes):
        top, left = label % rows * 3, label // rows * (block + 4)
        assert (shown[top : top + 2, left : left + 3] == label * 10 % 256).all()
    save_grid(images.view(classes, 10, -1)[:, :3].flatten(0, 1), tmp_path / "few.png", 3, (1, 2, 3))
    few = shown_grid(tmp_path / "few.png")
    if blocks > 1:
        assert few.shape == shown.shape, "classes of three images hang beside those of ten"
        np.testing.assert_array_equal(few[:, : min(across, 3) * 4 - 1], shown[:, : min(across, 3) * 4 - 1])
        assert (few[:, 12:block] == 128).all()


def test_a_sheet_shows_black_as_0_and_white_as_255():
    sheet = tile(torch.tensor([[0.0], [1.0], [-0.5], [1.5]]), columns=4, shape=(1, 1, 1), gap=0)
    assert sheet.tolist() == [[0, 255, 0, 255]]


def test_paired_rows_alternate_real_and_reconstructed():
    real, made = torch.arange(6.0)[:, None], torch.arange(10.0, 16.0)[:, None]
    assert paired_rows(real, made, 3).flatten().tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 5, 13, 14, 15]
