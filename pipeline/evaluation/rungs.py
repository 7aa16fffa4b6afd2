"""Quick scores of a model that is still in training, for the rungs of a sweep. Knows tensors; no stores, no trials.

A tenth of the samples, or a few per class where that is fewer, and a small density where the prior is fitted:
comparable between models at the same rung, not with the full scores, whose sizes and densities are others.
"""

from collections.abc import Sequence

import torch

from pipeline.config.digests import derive_seed
from pipeline.config.sections import SamplingConfig, ScoreConfig
from pipeline.data.splits import PreparedData
from pipeline.evaluation.judges.networks import Judges
from pipeline.evaluation.priors import quick_prior, sampled_codes, spread
from pipeline.evaluation.reference import Reference, scores_of_images
from pipeline.models.architecture import Architecture
from pipeline.models.priors import STANDARD, Prior
from pipeline.models.sampling import conditional_samples

FEWEST = 20
"""Samples per class that a small data set's models are scored by: with fewer, all of them are right, or wrong."""
VALIDATION_IMAGES = 2000
"""What the gain of a fitted prior in nats is measured on, at most."""
EXPOST = "_expost"
"""Ends the names of scores under the prior fitted to the model's codes."""


@torch.inference_mode()
def rung_scores(
    names: Sequence[str],
    model: Architecture,
    data: PreparedData,
    judged: tuple[Judges, Reference] | None,
    *,
    neg_elbo: float,
    score: ScoreConfig,
    sampling: SamplingConfig,
) -> dict[str, float]:
    """Scores by name: under N(0, I), or under a small prior fitted now where the name ends in _expost.

    `neg_elbo` is the epoch's own under N(0, I) on validation images; `judged` is there for a model that takes labels.
    """
    found = {"neg_elbo": neg_elbo}
    if judged is not None and not all(name in found or name.endswith(EXPOST) for name in names):
        found |= _sampled_scores(model, *judged, score, STANDARD)
    if any(name.endswith(EXPOST) for name in names):
        prior = quick_prior(model, data, sampling)
        # Under another prior the bound differs by E_q[log N(z; 0, I) - log p(z|c)] alone: codes, and no decoding.
        some = spread(data.val, VALIDATION_IMAGES)
        codes = sampled_codes(model, some, seed=derive_seed("quick codes", sampling.seed))
        found[f"neg_elbo{EXPOST}"] = neg_elbo - (codes.kl(STANDARD) - codes.kl(prior))
        if judged is not None:
            scores = _sampled_scores(model, *judged, score, prior)
            found |= {f"{name}{EXPOST}": value for name, value in scores.items()}
    return {name: found[name] for name in names}


def _sampled_scores(
    model: Architecture, judges: Judges, reference: Reference, config: ScoreConfig, prior: Prior
) -> dict[str, float]:
    most = min(config.per_class, reference.per_class)
    per_class = min(most, max(FEWEST, most // 10))
    images, _ = conditional_samples(model, per_class=per_class, seed=config.seed, prior=prior)
    return scores_of_images(judges, reference, images.unflatten(0, (model.classes, per_class)), range(model.classes))
