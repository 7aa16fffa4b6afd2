"""Diversity scores against closed forms, laws and scikit-learn."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metrics.diversity import (
    PixelPCA,
    pairwise_l2,
    pairwise_ssim,
    vendi_ratio,
    vendi_score,
    vendi_score_of_kernel,
)


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_vendi_of_three_pairs_of_points_is_three():
    points = torch.tensor([0.0, 0, 10, 10, 20, 20])
    kernel = (-(points[:, None] - points).abs()).exp()
    assert 2.9999 < vendi_score_of_kernel(kernel) < 3


@given(st.integers(1, 40), st.integers(1, 40))
def test_vendi_of_copies_is_one(n, d):
    assert vendi_score(normal(1, d).expand(n, d)) == pytest.approx(1, abs=1e-9)


@given(st.integers(1, 30), st.integers(0, 30))
def test_vendi_of_orthogonal_items_is_their_number(n, more):
    assert vendi_score(3 * torch.eye(n, n + more)) == pytest.approx(n)


@pytest.mark.parametrize(("n", "d"), [(60, 7), (7, 60), (20, 20)])
def test_the_smaller_of_the_two_kernels_gives_the_score_of_the_full_one(n, d):
    features = normal(n, d) * torch.rand(n, 1) * 9
    rows = features.double() / features.double().norm(dim=1, keepdim=True)
    assert vendi_score(features) == pytest.approx(vendi_score_of_kernel(rows @ rows.T), abs=1e-9)


@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 30))
def test_vendi_stays_between_one_and_the_rank_and_repeating_the_set_changes_nothing(seed, n, d):
    features = normal(n, d, seed)
    score = vendi_score(features)
    assert 1 - 1e-9 <= score <= min(n, d) + 1e-9
    assert vendi_score(features.repeat(3, 1)) == pytest.approx(score)


def test_vendi_counts_classes_by_the_entropy_of_their_shares():
    features = torch.eye(2).repeat_interleave(torch.tensor([3, 1]), 0)
    assert vendi_score(features) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_vendi_ratio_of_a_set_to_itself_is_one_and_of_one_repeated_image_its_inverse_score():
    real = normal(50, 10)
    assert vendi_ratio(real, real) == 1
    assert vendi_ratio(real[:1].expand(50, 10), real) == pytest.approx(1 / vendi_score(real))


def test_pca_agrees_with_scikit_learn_up_to_signs():
    from sklearn.decomposition import PCA

    images = normal(300, 20) @ torch.diag(torch.linspace(3, 0.5, 20)) + 5
    ours, theirs = PixelPCA.fit(images, 6), PCA(6, svd_solver="full").fit(images.double().numpy())
    torch.testing.assert_close(ours.mean.double(), torch.from_numpy(theirs.mean_), rtol=0, atol=1e-5)
    expected = torch.from_numpy(theirs.transform(images.double().numpy()))
    torch.testing.assert_close(ours.project(images).double().abs(), expected.abs(), rtol=0, atol=1e-4)


def test_pca_signs_are_fixed_by_the_largest_entry():
    components = PixelPCA.fit(normal(100, 12), 12).components
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


def test_pca_of_the_same_images_in_another_order_is_the_same():
    images = normal(5000, 12) @ torch.diag(torch.linspace(3, 0.5, 12))
    torch.testing.assert_close(PixelPCA.fit(images, 5).components, PixelPCA.fit(images.flip(0), 5).components)


@pytest.mark.parametrize(
    ("images", "rank"),
    [(normal(100, 8), 8), (normal(10, 30), 9), (normal(100, 3) @ normal(3, 30), 3)],
    ids=["few pixels", "few images", "low rank"],
)
def test_pca_takes_as_many_components_as_there_are(images, rank):
    pca = PixelPCA.fit(images, 50)
    assert pca.components.shape == (rank, images.shape[1])
    torch.testing.assert_close(pca.components @ pca.components.T, torch.eye(rank))
    rebuilt = pca.mean + pca.project(images) @ pca.components
    torch.testing.assert_close(rebuilt, images, rtol=0, atol=1e-4)


def test_pca_projects_images_with_height_and_width():
    images = normal(40, 16)
    pca = PixelPCA.fit(images, 4)
    assert torch.equal(pca.project(images.reshape(40, 4, 4)), pca.project(images))


def test_pairwise_l2_agrees_with_all_pairs(generator):
    images = normal(80, 30)
    expected = torch.nn.functional.pdist(images).mean().item()
    assert pairwise_l2(images, pairs=20_000, generator=generator) == pytest.approx(expected, rel=0.01)


def test_pairwise_l2_never_pairs_an_image_with_itself(generator):
    assert pairwise_l2(torch.eye(3), generator=generator) == pytest.approx(2**0.5)


def test_pairwise_l2_of_copies_is_zero_and_of_black_and_white_images_the_root_of_the_pixels(generator):
    assert pairwise_l2(torch.full((5, 4, 4), 0.3), generator=generator) == 0
    assert pairwise_l2(torch.tensor([0.0, 1.0])[:, None].expand(2, 16), generator=generator) == 4


def test_pairwise_scores_repeat_under_the_same_seed():
    images = torch.rand(30, 8, 8, generator=torch.Generator().manual_seed(0))
    for score in (pairwise_l2, pairwise_ssim):
        first, again = (score(images, pairs=50, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert first == again


def test_ssim_of_copies_is_one_and_of_noise_about_zero(generator):
    image = torch.rand(28, 28, generator=generator)
    assert pairwise_ssim(image.expand(4, 28, 28), pairs=10, generator=generator) == pytest.approx(1)
    noise = torch.rand(50, 28, 28, generator=generator)
    assert pairwise_ssim(noise, pairs=300, generator=generator) == pytest.approx(0, abs=0.02)


def test_ssim_averages_over_all_pairs_not_over_parts(generator):
    # With two images every pair is the same pair: any number of pairs gives its SSIM.
    images = torch.rand(2, 28, 28, generator=generator)
    one, many = (pairwise_ssim(images, pairs=n, generator=generator) for n in (1, 131))
    assert many == pytest.approx(one, abs=1e-5)


def test_principal_components_of_large_images_are_those_of_the_whole_covariance():
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(1, -2, 40)
    images = torch.randn(600, 40, generator=generator) * scales @ torch.randn(40, 1500, generator=generator) + 3
    large = PixelPCA.fit(images, 8)
    centred = images.double() - images.double().mean(0)
    exact = torch.linalg.svd(centred, full_matrices=False).Vh[:8]
    assert (large.components.double() @ exact.T).abs().diagonal().tolist() == pytest.approx([1] * 8, abs=1e-4)
    assert torch.equal(large.components, PixelPCA.fit(images, 8).components)
