"""The stage `panel`: the same generated images read by judges of other seeds.

A judge is an instrument, and another one of the same make reads otherwise: by more, at a high beta, than models of
several training seeds differ. The search goes on with one judge; what is reported of it is read by several.
"""

from dataclasses import replace
from pathlib import Path

from pipeline.config.settings import RunConfig
from pipeline.evaluation.catalog import JUDGED, by_judge, in_order
from pipeline.evaluation.scoring import score_metrics, score_model
from pipeline.models.priors import STANDARD, Prior
from pipeline.stages.context import Context, Result
from pipeline.stages.graph import EXPOST, PANEL
from pipeline.stages.judge import judge
from pipeline.stages.prior import fitted_prior
from pipeline.stages.reference import reference
from pipeline.stages.train import Trained, train
from pipeline.store.files import read_json, write_json


def panel(ctx: Context, split: str, trained: Trained | None = None) -> Result:
    """Conditional accuracy, coverage and diversity by each judge but the first, under every prior that is scored."""
    config = ctx.config
    trained = trained or train(ctx)
    priors: dict[str, Prior] = {"": STANDARD}
    if EXPOST.when(config, split):
        priors["_expost"] = fitted_prior(ctx, trained).density

    def make(work: Path) -> None:
        metrics: dict[str, float] = {}
        for number, judged_by in enumerate(panel_configs(config), start=2):
            other = replace(ctx, config=judged_by)
            judges, ref = judge(other).judges, reference(other, split)
            for end, prior in priors.items():
                own = score_metrics(score_model(trained.model, judges, ref, config.score, prior), ref, split)
                metrics |= {
                    f"{split}/{by_judge(name + end, number)}": own[key]
                    for name in JUDGED
                    if (key := f"{split}/{name}") in own
                }
        write_json(work / "metrics.json", metrics)

    folder = ctx.build(PANEL, make, split)
    return Result(folder, in_order(read_json(folder / "metrics.json")))


def panel_configs(config: RunConfig) -> list[RunConfig]:
    """The configuration with the seeds of the judges beyond its own."""
    own = config.judge.seed
    return [config.with_settings({"judge.seed": own + i}) for i in range(1, config.panel.judges)]
