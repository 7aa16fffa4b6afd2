"""The stage `expost`: one generative model, a decoder with its fitted prior, scored as under N(0, I)."""

from pathlib import Path

from safetensors.torch import load_file

from pipeline.evaluation.catalog import in_order
from pipeline.evaluation.scoring import expost_elbo, expost_scores, score_model
from pipeline.grids import GRID_COLUMNS, save_grid
from pipeline.models.sampling import generation_grid
from pipeline.stages.context import Context, Result
from pipeline.stages.evaluate import evaluate
from pipeline.stages.graph import EXPOST
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.prior import fitted_prior
from pipeline.stages.reference import reference
from pipeline.stages.score import save_scores, score
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors
from pipeline.training.validation import prior_kl_per_image


def expost(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """neg_elbo and its kl, and of a cvae the scores and the grid, with z from the prior fitted on training codes."""
    config = ctx.config
    trained = trained or train(ctx)
    prior = fitted_prior(ctx, trained)
    standard = evaluate(ctx, split, trained)
    scored = score(ctx, split, trained) if config.model.kind == "cvae" else None

    def make(work: Path) -> None:
        data = prepare(ctx)
        noise = config.evaluate  # that of `evaluate`: bce is the same number
        kl = prior_kl_per_image(
            trained.model, data.split(split), prior.density, seed=noise.seed, draws=noise.draws
        ).cpu()
        metrics = expost_elbo(load_file(standard.folder / "per_image.safetensors")["bce"], kl, split)
        save_tensors({"kl": kl.contiguous()}, work / "per_image.safetensors")
        if scored is not None:
            stage, ref = judge(ctx), reference(ctx, split)
            scores = score_model(trained.model, stage.judges, ref, config.score, prior.density)
            metrics |= expost_scores(scores, scored.metrics, ref, split)
            save_scores(scores, ref, data, stage, work)
            grid = generation_grid(trained.model, prior=prior.density)
            save_grid(grid, work / "generated.png", GRID_COLUMNS, data.shape)
        write_json(work / "metrics.json", metrics)

    folder = ctx.build(EXPOST, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")), {"prior": prior.facts})
