"""A study taken up by its name alone: with what its ledger holds, whatever a command says anew held against it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.config.settings import RunConfig
from pipeline.errors import StudyError
from pipeline.store.store import KEY_LENGTH
from sweeps.study.config import StudyConfig

MOST = 4
"""Differences that are told; of more it is said how many."""


def continued(
    held: StudyConfig, settings: Mapping[str, Any] | None = None, *, instead: str = "", **own: Any
) -> StudyConfig:
    """The study as its ledger has it, run as `settings` say (device, threads, gates, where images of one's own lie by
    now: how, never what).

    `settings` and `own` (space, objectives, seed, window, ..) are what was given; None means "not given". StudyError if
    any of it is not what the study was started with; `instead` says what to type instead.
    """
    given = dict(settings or {})
    asked = dataclasses.replace(
        held,
        base=held.base.with_settings(given),
        **{name: value for name, value in own.items() if value is not None},
    )
    before, now = held.spec(), asked.spec()
    if changed := [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]:
        raise StudyError(refusal(held.name, before, now, changed, instead))
    how = {n: v for n, v in asked.base.flat().items() if n.startswith(("runtime.", "gates.")) or n == "data.dataset"}
    seed = {"train.seed": asked.base.train.seed}  # of the finals: no part of what makes the study
    return dataclasses.replace(held, base=held.base.with_settings({**how, **seed}))


def refusal(name: str, before: Mapping[str, Any], now: Mapping[str, Any], changed: list[str], instead: str) -> str:
    """That a study was started with other settings: which, and the two commands that there are instead."""

    def of(spec: Mapping[str, Any], setting: str) -> str:
        value = spec.get(setting, "absent")
        return (value[:KEY_LENGTH] or "none") if setting == "data.content" else str(value)

    shown = "; ".join(f"{name} was {of(before, name)}, now {of(now, name)}" for name in changed[:MOST])
    more = f" (and {len(changed) - MOST} more)" if len(changed) > MOST else ""
    end = instead or "repeat the old ones to resume it, or choose another --name"
    return f"study {name} was started with other settings: {shown}{more}; {end}"


def replaced_by_search(study: StudyConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for settings that the study searches: it has no say, and somebody should be told."""
    searched = {dimension.setting for dimension in study.space}
    flat = RunConfig().with_settings(dict(given)).flat()
    return {name: flat[name] for name in given if name in searched}
