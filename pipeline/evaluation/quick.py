"""Scores under a fitted prior cheap enough for between epochs: a small density, a tenth of the samples.

Comparable among trials at one epoch, not with the full scores: their sample sizes and densities are others.
"""

import torch

from pipeline.config.digests import derive_seed
from pipeline.config.sections import SamplingConfig, ScoreConfig
from pipeline.data.splits import PreparedData
from pipeline.evaluation.judges.networks import Judges
from pipeline.evaluation.priors import quick_prior, sampled_codes, spread
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.scoring import quick_scores
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.priors import STANDARD

VALIDATION_IMAGES = 2000
"""What the gain in nats is measured on, at most."""


@torch.inference_mode()
def quick_expost_scores(
    model: Autoencoder,
    data: PreparedData,
    judged: tuple[Judges, Reference] | None,
    score: ScoreConfig,
    sampling: SamplingConfig,
    *,
    neg_elbo: float,
) -> dict[str, float]:
    """neg_elbo_expost, and with judges (of a cvae) accuracy and relative coverage, `_expost` behind their names.

    `neg_elbo` is the epoch's under N(0, I) on validation images. Under another prior it differs by E_q[log N(z; 0, I) -
    log p(z|c)] alone, which takes codes of some of these images and no decoding.
    """
    prior = quick_prior(model, data, sampling)
    codes = sampled_codes(model, spread(data.val, VALIDATION_IMAGES), seed=derive_seed("quick codes", sampling.seed))
    found = {"neg_elbo": neg_elbo - (codes.kl(STANDARD) - codes.kl(prior))}
    if judged is not None:
        judges, reference = judged
        found |= quick_scores(model, judges, reference, score, prior)
    return {f"{name}_expost": value for name, value in found.items()}
