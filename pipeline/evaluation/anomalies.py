"""How strange each image is to a model that has never seen one of the classes. Tensors in, numbers out; no files.

An image's label is not known where anomalies are looked for: it is scored under the label that explains it best.

    neg_elbo      bce + kl in nats, the bound on -log p(x|c)
    excess_bce    bce less its floor, the entropy of grey pixels: a dark image is not less strange for being dark
    class_means   bce of the nearest mean image of a known class: what needs no model

Where the likelihood is a density, its distortion is in place of bce.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.config.digests import derive_seed
from pipeline.data.splits import PreparedData, Split, where
from pipeline.evaluation.bounds import spread_around
from pipeline.evaluation.metrics.auroc import auroc, auroc_interval
from pipeline.evaluation.reference import class_means
from pipeline.models.architecture import Architecture
from pipeline.models.losses import decoded_terms

SCORES = ("neg_elbo", "excess_bce", "class_means")
DRAWS, BATCH = 5, 1000
SHOWN = 10
"""Most and least anomalous images on the sheet."""


@dataclass(frozen=True)
class Anomalies:
    """What was found when one class was held out."""

    facts: dict[str, Any]
    """JSON: images of both kinds, the area under the curve of every score with its interval, labels of those shown."""
    images: Float[Tensor, "M D"]
    """Two rows of SHOWN images by neg_elbo: the most anomalous, the least."""


def without(data: PreparedData, held_out: int) -> PreparedData:
    """The data with no image of a class in train and val; test has it."""
    return dataclasses.replace(
        data,
        train=where(data.train, data.train.labels != held_out),
        val=where(data.val, data.val.labels != held_out),
    )


@torch.inference_mode()
def strangeness(model: Architecture, data: PreparedData, part: Split, held_out: int) -> dict[str, Float[Tensor, " N"]]:
    """The scores of every image of a split, higher being stranger; `data` is what the model was trained on."""
    known = [c for c in range(data.classes) if c != held_out]
    under = known if model.conditional else known[:1]
    each_bce, each = torch.stack([_terms(model, part, label) for label in under]).unbind(1)  # (L, N)
    best = each.argmin(0, keepdim=True)
    x = part.as_float()
    means = class_means(data.train, data.classes).clamp(1e-6, 1 - 1e-6)
    best_decoder, logits = model.likelihood.of_means(means, spread_around(data.train, means))
    from_means = torch.stack([best_decoder.nll(logits[c], x) for c in known])  # (L, N)
    return {
        "neg_elbo": each.gather(0, best)[0],
        "excess_bce": each_bce.gather(0, best)[0] - model.likelihood.floor(x),
        "class_means": from_means.min(0).values,
    }


def _terms(model: Architecture, part: Split, label: int) -> Float[Tensor, "2 N"]:
    """bce and neg_elbo of every image under one label, the mean over DRAWS samples of z, the same for each label."""
    generator = torch.Generator(part.labels.device).manual_seed(derive_seed("anomalies"))
    found = []
    for x, y in part.batches(BATCH):
        as_label = torch.full_like(y, label)
        codes = model.encode(x, as_label)
        draws = [decoded_terms(model, x, as_label, *codes, generator) for _ in range(DRAWS if model.stochastic else 1)]
        bce = torch.stack([terms.bce for terms in draws]).mean(0)
        found.append(torch.stack([bce, bce + draws[0].kl]))
    return torch.cat(found, dim=1)


def look_for_anomalies(model: Architecture, data: PreparedData, part: Split, held_out: int) -> Anomalies:
    """Areas under the ROC curve of every score, on a split that has the held-out class; the images at both ends."""
    scores = strangeness(model, data, part, held_out)
    strange: Bool[Tensor, " N"] = part.labels == held_out
    n, m = int((~strange).sum()), int(strange.sum())
    found = {}
    for name, values in scores.items():
        area = auroc(values[~strange].cpu(), values[strange].cpu())
        low, high = auroc_interval(area, n, m)
        found[name] = {"auroc": area, "low": low, "high": high}
    order = scores["neg_elbo"].argsort(descending=True, stable=True)
    shown = torch.cat([order[:SHOWN], order[-SHOWN:]])
    facts = {
        "held_out": held_out,
        "images": {"known": n, "held_out": m},
        "scores": found,
        "shown": part.labels[shown].tolist(),
        "among_most": int(strange[order[:m]].sum()),
    }
    return Anomalies(facts, part.as_float(shown).cpu())
