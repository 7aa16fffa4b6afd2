"""Ex-post sampling priors: a density per class fitted on a trained model's own codes. Knows tensors and scikit-learn.

At a small beta the codes of a class do not fill N(0, I), so z ~ N(0, I) lands where the decoder was never trained. A
density fitted on the codes after training, with no retraining, samples where it was (Ghosh et al. 2020, "From
variational to deterministic autoencoders", section 4).
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.config.sections import SamplingConfig
from pipeline.data.splits import Split
from pipeline.models.architecture import Architecture
from pipeline.models.autoencoder import reparametrise


@dataclass(frozen=True)
class ClassPrior:
    """A mixture of C Gaussians over z for each of K classes."""

    weights: Float[Tensor, "K C"]
    """Sum to 1; a class of fewer components than C has zeros at the end."""
    means: Float[Tensor, "K C Z"]
    roots: Float[Tensor, "K C Z Z"]
    """Lower triangular L with L L^T the covariance of the component."""

    def draw(self, eps: Float[Tensor, "N Z"], u: Float[Tensor, " N"], y: Int[Tensor, " N"]) -> Float[Tensor, "N Z"]:
        """z of class y from standard normal `eps` and uniform `u`, which picks the component: pairs across models."""
        edges = self.weights.cumsum(1)[y]  # (N, C)
        last = (self.weights > 0).sum(1)[y] - 1  # rounding may leave the last edge below u
        component = (u[:, None] >= edges).sum(1).minimum(last)
        return self.means[y, component] + (self.roots[y, component] @ eps[:, :, None]).squeeze(-1)


@torch.inference_mode()
def sampled_codes(model: Architecture, split: Split, indices: Int[Tensor, " N"], *, seed: int) -> Float[Tensor, "N Z"]:
    """z ~ q(z|x,c) of some images, one draw each."""
    model.eval()
    mu, logvar = model.encode(split.as_float(indices), split.labels[indices])
    assert logvar is not None
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))
    return reparametrise(mu, logvar, eps.to(mu.device))


def fit_prior(model: Architecture, train: Split, config: SamplingConfig, *, classes: int) -> ClassPrior:
    """The density of each class's sampled codes; `config.prior` is gaussian (one component) or mixture."""
    from threadpoolctl import threadpool_limits

    fitted = []
    for label in range(classes):
        members = (train.labels == label).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(derive_seed("prior images", config.seed, label))
        order = torch.randperm(len(members), generator=generator)[: config.codes_per_class]
        chosen = members[order.to(members.device)]
        codes = sampled_codes(model, train, chosen, seed=derive_seed("prior codes", config.seed, label))
        with threadpool_limits(1):  # several threads on so little work spend their time waiting, and change the bits
            fitted.append(_fit_class(codes.double().cpu().numpy(), config))
    weights, means, covariances = (torch.stack(parts) for parts in zip(*fitted, strict=True))
    return ClassPrior(weights.float(), means.float(), torch.linalg.cholesky(covariances).float())


def _fit_class(codes: np.ndarray, config: SamplingConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (C,), means (C, Z) and covariances (C, Z, Z) of one class, float64."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    # A component needs more codes than it has dimensions to have a covariance of its own.
    most = max(1, len(codes) // (2 * codes.shape[1]))
    components = 1 if config.prior == "gaussian" else min(config.components, most)
    # k-means++ starts EM three times faster than a whole k-means does, and no worse.
    mixture = GaussianMixture(
        components, reg_covar=1e-4, tol=1e-3, max_iter=500, init_params="k-means++", random_state=config.seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            mixture.fit(codes)
        except ConvergenceWarning:  # one Gaussian has a closed form and always converges
            mixture = GaussianMixture(1, reg_covar=1e-4, random_state=config.seed).fit(codes)
    # Classes may end with fewer components than others: unused ones have weight 0.
    unused = (1 if config.prior == "gaussian" else config.components) - mixture.n_components
    identity = np.eye(codes.shape[1])
    weights = np.pad(mixture.weights_, (0, unused))
    means = np.pad(mixture.means_, ((0, unused), (0, 0)))
    covariances = np.concatenate([mixture.covariances_, *[identity[None]] * unused])
    return torch.from_numpy(weights), torch.from_numpy(means), torch.from_numpy(covariances)
