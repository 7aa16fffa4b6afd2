"""The stage `evaluate`: bce, kl and neg_elbo on a split, per image, with the reconstruction grid."""

from pathlib import Path

import torch

from pipeline.evaluation.bounds import distortion_bounds
from pipeline.evaluation.catalog import in_order, of_likelihood
from pipeline.evaluation.reference import drawn_of_each
from pipeline.grids import GRID_COLUMNS, paired_rows, save_grid
from pipeline.models.sampling import reconstructions
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import EVALUATE
from pipeline.stages.opened import opened
from pipeline.stages.prepare import prepare
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors
from pipeline.training.validation import elbo_per_image


def evaluate(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """bce, kl and neg_elbo with sampled z, bce at the mean of q, the entropy floor; the reconstruction grid."""
    config = ctx.config
    trained = trained or train(ctx)
    data = prepare(ctx)
    part = data.split(split)
    model = trained.model
    if split == "test":
        opened(ctx)

    def make(work: Path) -> None:
        draws = 1 if not model.stochastic else config.evaluate.draws
        terms = elbo_per_image(model, part, seed=config.evaluate.seed, draws=draws)
        at_mean = elbo_per_image(model, part, seed=0, at_mean=True)
        likelihood = config.model.likelihood
        bounds = distortion_bounds(data, split, likelihood)
        bce = float(terms.bce.double().mean())
        floor = bounds[of_likelihood("entropy_floor", likelihood)]
        values = {"bce": bce, "excess_bce": bce - floor, **bounds}
        if model.stochastic:
            neg_elbo = terms.neg_elbo.double()
            values |= {
                "kl": float(terms.kl.double().mean()),
                "neg_elbo": float(neg_elbo.mean()),
                "neg_elbo_sem": float(neg_elbo.std() / len(neg_elbo) ** 0.5),
                "bce_at_mean": float(at_mean.bce.double().mean()),
            }
        named = {f"{split}/{of_likelihood(key, likelihood)}": value for key, value in values.items()}
        write_json(work / "metrics.json", named)
        save_tensors({"bce": terms.bce.cpu(), "kl": terms.kl.cpu().contiguous()}, work / "per_image.safetensors")
        per_class = -(-GRID_COLUMNS // data.classes)
        chosen = torch.cat(drawn_of_each(part.labels.cpu(), per_class, data.classes, seed=0))[: 2 * GRID_COLUMNS]
        columns = min(GRID_COLUMNS, len(chosen))
        chosen = chosen[: len(chosen) // columns * columns].to(part.labels.device)
        real = part.as_float(chosen)
        rows = paired_rows(real, reconstructions(model, real, part.labels[chosen]), columns)
        save_grid(rows, work / "reconstructed.png", columns, data.shape)

    folder = ctx.build(EVALUATE, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")))
