"""Which results in the store a configuration needs, by stage and key. Derives keys; reads nothing, needs no torch."""

from collections.abc import Iterator
from typing import Any

from pipeline.config.settings import RunConfig
from pipeline.stages.graph import JUDGE, STAGES, judge_part, run_key
from pipeline.store.store import KEY_LENGTH

Entry = tuple[str, str]
"""Stage and key, as the store names its folders."""

FREE = frozenset({"train.seed", "panel.judges"})
"""What a re-training may change of a configuration."""


def entry(stage: str, key: str) -> Entry:
    return stage, key[:KEY_LENGTH]


def needs(config: RunConfig, split: str) -> Iterator[Entry]:
    """Everything that a run is made of or checked against: the run, its stages, the data, every judge of its panel."""
    yield entry("run", run_key(config, split))
    yield entry("label", run_key(config, split))  # what somebody called it
    panel = [
        config,
        *(config.with_settings({"judge.seed": config.judge.seed + i}) for i in range(1, config.panel.judges)),
    ]
    for stage in STAGES:
        for own in panel if stage.shared else [config]:
            yield entry(stage.name, stage.key(own, split))
    for own in panel:
        yield from (entry(judge_part(kind), JUDGE.key(own)) for kind in "ab")


def family(config: RunConfig) -> tuple[Any, ...]:
    """What a configuration and its re-trainings have in common."""
    return tuple(
        (name, str(value))
        for name, value in config.anywhere.flat().items()
        if name not in FREE and not name.startswith(("runtime.", "gates."))
    )
