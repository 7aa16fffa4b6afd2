"""The stage `audit`: the secondary suite on a split; minutes."""

from pathlib import Path

from pipeline.evaluation.audit import audit_model
from pipeline.evaluation.catalog import in_order
from pipeline.stages.context import Context, Result, require_labels
from pipeline.stages.graph import AUDIT, PRIOR
from pipeline.stages.judge import judge
from pipeline.stages.prepare import prepare
from pipeline.stages.prior import fitted_prior
from pipeline.stages.reference import reference
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json


def audit(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """The secondary suite: likelihood bound, diversity, latent health. For a cvae only; takes minutes."""
    config = ctx.config
    require_labels(config, "audit")
    trained = trained or train(ctx)
    data, judges, ref = prepare(ctx), judge(ctx).judges, reference(ctx, split)
    prior = fitted_prior(ctx, trained).density if PRIOR.when(config, split) else None

    def make(work: Path) -> None:
        def progress(what: str, done: int, total: int) -> None:
            ctx.progress("audit", done, total, what)

        part = data.split(split)
        found = audit_model(trained.model, judges, ref, data, part, config.audit, config.score, progress, prior)
        write_json(work / "metrics.json", {f"{split}/{key}": value for key, value in found.metrics.items()})
        write_json(work / "kl_per_dim.json", found.kl_per_dim)

    folder = ctx.build(AUDIT, make, split)
    return Result(
        folder,
        in_order(read_json(folder / "metrics.json")),
        {"kl_per_dim": read_json(folder / "kl_per_dim.json")},
    )
