"""The stage `inside`: what the model has learnt, as pictures."""

from pathlib import Path

from PIL import Image

from pipeline.evaluation.inside import look_inside
from pipeline.models.priors import STANDARD
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import INSIDE, PRIOR
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.prior import fitted_prior
from pipeline.stages.train import Trained, train
from pipeline.store.files import write_json
from pipeline.store.tensors import save_tensors


def inside(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """Traversals, interpolations, the latent map, KL per dimension, the most wrong samples: the folder that has them.

    A sheet of images is <name>.png; inside.json says what its rows are; map.safetensors has points and labels.
    """
    config = ctx.config
    trained = trained or train(ctx)
    data = prepare(ctx)
    judge_a = judge(ctx).judges.a if config.model.kind == "cvae" else None
    prior = fitted_prior(ctx, trained).density if judge_a is not None and PRIOR.when(config, split) else STANDARD

    def make(work: Path) -> None:
        part = data.split(split)
        samples = config.score
        found = look_inside(
            trained.model, data, part, judge_a, per_class=samples.per_class, seed=samples.seed, prior=prior
        )
        for name, sheet in found.sheets.items():
            Image.fromarray(sheet).save(work / f"{name}.png", optimize=True)
        if found.points is not None:
            save_tensors({"points": found.points.contiguous(), "labels": found.labels}, work / "map.safetensors")
        write_json(work / "inside.json", found.facts)

    return Result(ctx.build(INSIDE, make, split))
