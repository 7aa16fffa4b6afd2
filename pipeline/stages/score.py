"""The stages `score` and `expost`: generated images read, covered and compared, under N(0, I) and a fitted prior."""

from pathlib import Path

from safetensors.torch import save_file

from pipeline.evaluation.catalog import in_order
from pipeline.evaluation.priors import fit_prior
from pipeline.evaluation.scoring import expost_metrics, per_class_table, score_metrics, score_model
from pipeline.grids import GRID_COLUMNS, save_grid
from pipeline.models.sampling import generation_grid
from pipeline.stages.context import Context, Result, require_labels
from pipeline.stages.graph import EXPOST, SCORE
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json


def score(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """Conditional accuracy, coverage and diversity of generated images; the generation grid. For a cvae only."""
    config = ctx.config
    require_labels(config, "score")
    trained = trained or train(ctx)
    data = prepare(ctx)
    judge_stage, ref = judge(ctx), reference(ctx, split)

    def make(work: Path) -> None:
        scores = score_model(trained.model, judge_stage.judges, ref, config.score)
        write_json(work / "metrics.json", score_metrics(scores, ref, split))
        write_json(
            work / "per_class.json",
            {
                "table": per_class_table(scores, ref, data.class_names),
                "confusion": scores.accuracy.confusion,
                "judge_sha256": judge_stage.weights_sha256,
                "reference_per_class": ref.per_class,
            },
        )
        save_file({"predicted": scores.predicted, "covered": scores.covered}, work / "per_sample.safetensors")
        save_grid(generation_grid(trained.model), work / "generated.png", GRID_COLUMNS, data.shape)

    folder = ctx.build(SCORE, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")), judge_stage.facts)


def expost(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """The scores and the grid once more, with z from a density per class fitted on the training images' codes."""
    config = ctx.config
    trained = trained or train(ctx)
    standard = score(ctx, split, trained)
    data, judges, ref = prepare(ctx), judge(ctx).judges, reference(ctx, split)

    def make(work: Path) -> None:
        prior = fit_prior(trained.model, data.train, config.sampling, classes=data.classes)
        scores = score_model(trained.model, judges, ref, config.score, prior)
        write_json(work / "metrics.json", expost_metrics(scores, standard.metrics, ref, split))
        tensors = {"weights": prior.weights, "means": prior.means, "roots": prior.roots}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "prior.safetensors")
        save_file({"predicted": scores.predicted, "covered": scores.covered}, work / "per_sample.safetensors")
        save_grid(generation_grid(trained.model, prior=prior), work / "generated.png", GRID_COLUMNS, data.shape)

    folder = ctx.build(EXPOST, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")))
