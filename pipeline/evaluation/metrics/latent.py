"""What the latent carries: active units, collapse, how much of the label is in z. Knows codes, not models."""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.evaluation.thresholds import ACTIVE_VARIANCE, COLLAPSED_KL

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

HIDDEN_UNITS = 64
"""Width of the one-hidden-layer probe."""
MAX_EPOCHS, PATIENCE, LEAST_GAIN = 200, 20, 1e-3
"""Longest training of that probe; it stops earlier after 20 epochs that did not lower its held-out cross-entropy by a
thousandth of a nat."""

Codes = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def active_units(mu: Float[Tensor, "N Z"], threshold: float = ACTIVE_VARIANCE) -> int:
    """Number of latent dimensions in use, 0 .. Z: those with Var_x(mu_d) above the threshold (Burda et al. 2016)."""
    return int((mu.double().var(0) > threshold).sum())


def is_collapsed(kl_per_dim: Float[Tensor, " Z"], active: int) -> bool:
    """Whether the posterior tells nothing of x: no active unit, or a total KL below 0.5 nat.

    `kl_per_dim` is the mean over images of KL(q(z_d|x,c) || N(0, 1)), in nats (posterior collapse, Bowman et al. 2016).
    """
    return active == 0 or kl_per_dim.sum().item() < COLLAPSED_KL


@dataclass(frozen=True)
class LabelLeak:
    """What two probes read of c from z. The model assumes c independent of z; any probe only shows a part of a leak."""

    linear_accuracy: float
    """Accuracy of a logistic regression, 0 .. 1; the share of the commonest class is chance."""
    mlp_accuracy: float
    """The same for one hidden layer."""
    information_nats: float
    """Lower bound on the mutual information I(z;c) in nats, 0 .. H(c): H(c) less the smaller cross-entropy of them."""
    floor_nats: float
    """What the logistic regression loses of it by being fitted to no more than N images: p / 2N for its p parameters
    (Akaike 1974). A smaller leak is read as none."""
    linear_converged: bool
    """Whether the logistic regression reached its optimum; if not, its two numbers may be a little low."""


def label_leak(
    z_fit: Float[Tensor, "N Z"],
    y_fit: Int[Tensor, " N"],
    z_eval: Float[Tensor, "M Z"],
    y_eval: Int[Tensor, " M"],
    *,
    classes: int,
    seed: int,
    max_iterations: int = 2000,
) -> LabelLeak:
    """Probes that read the label from *sampled* z, fitted on one half and scored on the other (Alain & Bengio 2017).

    I(z;c) >= H(c) - CE of any classifier (Barber & Agakov 2003), H(c) and CE taken on the evaluation half.
    `max_iterations` bounds the logistic regression, which takes about ten on codes of a VAE.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    fit, evaluation = z_fit.double().cpu().numpy(), z_eval.double().cpu().numpy()
    scale = np.where(fit.std(0) > 0, fit.std(0), 1)
    fit, evaluation = (fit - fit.mean(0)) / scale, (evaluation - fit.mean(0)) / scale
    targets, truth = y_fit.cpu().numpy(), y_eval.cpu().numpy()

    # C = 100: next to no penalty, yet an optimum that exists where classes separate perfectly.
    linear = LogisticRegression(C=100, max_iter=max_iterations)
    with warnings.catch_warnings(), threadpool_limits(1):  # several threads only wait for each other on so little work
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says it instead: linear_converged
        linear.fit(fit, targets)
        mlp = _early_stopped_mlp(fit, targets, classes=classes, seed=seed)

    scores = [_accuracy_and_cross_entropy(probe, evaluation, truth, classes) for probe in (linear, mlp)]
    shares = np.bincount(truth, minlength=classes) / len(truth)
    entropy = -sum(p * math.log(p) for p in shares.tolist() if p > 0)
    return LabelLeak(
        linear_accuracy=scores[0][0],
        mlp_accuracy=scores[1][0],
        information_nats=min(max(entropy - min(ce for _, ce in scores), 0.0), entropy),
        floor_nats=(classes - 1) * (fit.shape[1] + 1) / (2 * len(fit)),
        linear_converged=bool(linear.n_iter_.max() < max_iterations),
    )


def _early_stopped_mlp(z: Codes, y: Labels, *, classes: int, seed: int) -> "MLPClassifier":
    """The one-hidden-layer probe of the epoch with the least cross-entropy on a tenth of its data held out.

    scikit-learn's own early stopping watches the accuracy, while the bound needs the cross-entropy, and its stratified
    split refuses small sets of many classes.
    """
    from sklearn.neural_network import MLPClassifier

    order = np.random.default_rng(seed).permutation(len(z))
    held_out, rest = order[: len(z) // 10], order[len(z) // 10 :]
    probe = MLPClassifier((HIDDEN_UNITS,), random_state=seed)
    best, best_loss, best_epoch = probe, math.inf, 0
    for epoch in range(1, MAX_EPOCHS + 1):
        probe.partial_fit(z[rest], y[rest], classes=np.arange(classes))
        _, loss = _accuracy_and_cross_entropy(probe, z[held_out], y[held_out], classes)
        if loss < best_loss - LEAST_GAIN:
            best, best_loss, best_epoch = copy.deepcopy(probe), loss, epoch
        if epoch - best_epoch >= PATIENCE:
            break
    return best


def _accuracy_and_cross_entropy(
    probe: "LogisticRegression | MLPClassifier", z: Codes, y: Labels, classes: int
) -> tuple[float, float]:
    """Share of right answers, and the cross-entropy in nats; a class the probe never saw has probability 1e-12."""
    probabilities = np.full((len(z), classes), 1e-12)
    probabilities[:, probe.classes_] = probe.predict_proba(z).clip(1e-12)
    return float((probabilities.argmax(1) == y).mean()), float(-np.log(probabilities[np.arange(len(y)), y]).mean())
