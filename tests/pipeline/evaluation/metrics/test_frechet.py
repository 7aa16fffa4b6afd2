"""Frechet distance against closed forms and scipy's matrix square root."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.metrics.frechet import covariance_root, frechet_distance


def normal(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whitened(n, d, seed=0):
    """Points whose sample mean is exactly 0 and whose sample covariance is exactly I."""
    x = normal(n, d, seed)
    return torch.linalg.qr(x - x.mean(0))[0] * (n - 1) ** 0.5


def by_scipy(a, b):
    import numpy as np
    from scipy.linalg import sqrtm

    a, b = a.double().numpy(), b.double().numpy()
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return means + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)


def test_a_shift_costs_its_squared_length():
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    assert frechet_distance(whitened(100, 4), whitened(80, 4, 1) + shift) == pytest.approx(5.25)


@pytest.mark.parametrize("n", [200, 12])
def test_twice_the_spread_costs_one_per_dimension(n):
    assert frechet_distance(whitened(n, 7), 2 * whitened(n, 7, 1)) == pytest.approx(7)


def test_agrees_with_scipy():
    mix_a, mix_b = normal(6, 6, 2), normal(6, 6, 3)
    a, b = normal(300, 6) @ mix_a, normal(200, 6, 1) @ mix_b + 1
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(10, 400), (10, 12), (400, 10)])
def test_fewer_images_than_features_give_the_same_as_explicit_covariances(n, m):
    a, b = normal(n, 30), normal(m, 30, 1)
    cov_a, cov_b = a.T.cov(), b.T.cov()
    overlap = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("n", [5, 50])
def test_the_root_squares_to_the_covariance(n):
    x = normal(n, 8)
    root = covariance_root(x)
    torch.testing.assert_close(root.T @ root, x.T.cov())


@given(st.integers(0, 2**31), st.integers(3, 40), st.integers(1, 20))
def test_distance_is_symmetric_and_zero_to_itself(seed, n, d):
    a, b = normal(n, d, seed), normal(n + 5, d, seed + 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-7, abs=1e-7)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_the_estimator_is_biased_in_n():
    small, large = (frechet_distance(normal(n, 20, 1), normal(n, 20, 2)) for n in (100, 2000))
    assert small > 5 * large > 0


def test_float32_features_are_taken_in_float64():
    a, b = normal(200, 5).float() + 1000, normal(200, 5, 1).float() + 1000
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-6)
