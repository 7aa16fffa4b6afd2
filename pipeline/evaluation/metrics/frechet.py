"""Frechet distance of two feature clouds. Knows features, not the judge they come from."""

import torch
from jaxtyping import Float
from torch import Tensor


def covariance_root(x: Float[Tensor, "N F"]) -> Float[Tensor, "R F"]:
    """R with R^T R = the (N - 1)-normalised covariance of the rows; at most min(N, F) rows."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    if len(x) <= x.shape[1]:
        return centred
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    # The zero eigenvalues of a singular covariance come out as +-1e-16.
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def frechet_distance(a: Float[Tensor, "N F"], b: Float[Tensor, "M F"]) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of Gaussians fitted to the rows (Heusel et al. 2017, eq. 6).

    In squared units of the features, 0 or more, down is better. The estimator is biased upwards by a term of order 1/N:
    compare only at one N. Computed in float64.
    """
    a, b = a.double(), b.double()
    root_a, root_b = covariance_root(a), covariance_root(b)
    # S_a S_b and (R_a R_b^T)(R_a R_b^T)^T share their non-zero eigenvalues, whichever roots R are taken.
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    traces = root_a.square().sum() + root_b.square().sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * overlap).clamp_min(0).item()
