"""The stage `score`: generated images read, covered and compared, with z from N(0, I)."""

from pathlib import Path

from pipeline.data.splits import PreparedData
from pipeline.evaluation.catalog import in_order
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.scoring import Scores, per_class_table, ratios_per_class, score_metrics, score_model
from pipeline.grids import GRID_COLUMNS, save_grid
from pipeline.models.sampling import generation_grid
from pipeline.stages.context import Context, Result, require_labels
from pipeline.stages.graph import SCORE
from pipeline.stages.judge import JudgeStage, judge
from pipeline.stages.opened import opened
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import reference
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json
from pipeline.store.tensors import save_tensors


def score(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """Conditional accuracy, coverage and diversity of generated images; the generation grid. For a cvae only."""
    config = ctx.config
    require_labels(config, "score")
    trained = trained or train(ctx)
    data = prepare(ctx)
    stage, ref = judge(ctx), reference(ctx, split)
    if split == "test":
        opened(ctx)

    def make(work: Path) -> None:
        scores = score_model(trained.model, stage.judges, ref, config.score)
        write_json(work / "metrics.json", score_metrics(scores, ref, split))
        save_scores(scores, ref, data, stage, work)
        save_grid(generation_grid(trained.model), work / "generated.png", GRID_COLUMNS, data.shape)

    folder = ctx.build(SCORE, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")), stage.facts)


def save_scores(scores: Scores, ref: Reference, data: PreparedData, stage: JudgeStage, work: Path) -> None:
    """What stands behind the numbers: per_class.json for people, per_sample.safetensors for pairs of runs."""
    write_json(
        work / "per_class.json",
        {
            "table": per_class_table(scores, ref, data.class_names),
            "confusion": scores.accuracy.confusion,
            "judge_sha256": stage.weights_sha256,
            "reference_per_class": ref.per_class,
            "ratios": ratios_per_class(scores, ref),
        },
    )
    tensors = {"predicted": scores.predicted, "covered": scores.covered, "covered_without": scores.covered_without}
    save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "per_sample.safetensors")
