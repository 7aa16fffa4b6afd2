"""What a run on another machine needs of this store: what its data set has given, and what was done of it before.

A worker there builds whatever it lacks, like any other; so that all of them are read by the same judges, and so that
nothing is done twice, it is sent what is here.
"""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.config.settings import RunConfig
from pipeline.stages.context import Context
from pipeline.stages.copying import held_out_surroundings
from pipeline.stages.graph import CALIBRATION, JUDGE, PANEL, PREPARE, REFERENCE, STAGES, SURROUNDINGS, rung_key
from pipeline.stages.opened import NAME as OPENED
from pipeline.stages.opened import opened, opened_key
from pipeline.stages.panel import panel_configs
from pipeline.stages.prepare import prepare
from pipeline.stages.reference import calibration, reference

Results = list[tuple[str, str]]
"""(stage, key) of results in a store."""


def shared_results(config: RunConfig, split: str) -> Results:
    """What every run of this data set on a split rests on: images, judges, references."""
    stages = [s for s in (PREPARE, SURROUNDINGS, CALIBRATION) if s.when(config, split)]
    found = [(stage.name, stage.key(config, split)) for stage in stages]
    if REFERENCE.when(config, split):
        for judged_by in _judged_by(config, split):
            found += [(JUDGE.name, JUDGE.key(judged_by)), (REFERENCE.name, REFERENCE.key(judged_by, split))]
    return found


def build_shared(ctx: Context, split: str) -> None:
    """Build what is missing of that."""
    prepare(ctx)
    if SURROUNDINGS.when(ctx.config, split):
        held_out_surroundings(ctx, split)
    if REFERENCE.when(ctx.config, split):
        calibration(ctx, split)
        for judged_by in _judged_by(ctx.config, split):
            reference(replace(ctx, config=judged_by), split)


def _judged_by(config: RunConfig, split: str) -> list[RunConfig]:
    """The configuration, and those of the other judges of a panel."""
    return [config, *(panel_configs(config) if PANEL.when(config, split) else ())]


def own_results(ctx: Context, split: str, rungs: Sequence[int], objectives: Sequence[str]) -> Results:
    """What is here of one run beyond that: stages, rungs; on test its record of having been opened, made now."""
    config, store = ctx.config, ctx.home.store
    of_model = [s for s in STAGES if not s.shared and s is not CALIBRATION and s.when(config, split)]
    found = [(stage.name, stage.key(config, split)) for stage in of_model]
    found += [("rung", rung_key(config, split, epoch, objectives)) for epoch in rungs]
    if split == "test":
        opened(ctx)
        found.append((OPENED, opened_key(config)))
    return [(stage, key) for stage, key in found if store.has(stage, key)]


def judges_are_there(ctx: Context) -> bool:
    """Whether a run needs to train no judge."""
    config = ctx.config
    return not JUDGE.when(config, "val") or ctx.home.store.has(JUDGE.name, JUDGE.key(config))
