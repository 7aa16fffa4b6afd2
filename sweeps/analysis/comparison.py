"""Studies side by side: what they asked, the fronts they found over the objectives they share, their choices as pairs.

Reads ledgers and the store; measures nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.errors import ConfigError
from pipeline.runs.comparison import Comparison, compare_runs
from pipeline.runs.outcome import Outcome
from pipeline.stages.graph import PREPARE, REFERENCE
from pipeline.store.home import Home
from sweeps.analysis.front import pareto_front
from sweeps.analysis.summary import Summary, summarise
from sweeps.study.config import StudyConfig, stored_config
from sweeps.study.hypervolume import gains, hypervolume_history
from sweeps.study.objective import Objective
from sweeps.study.reading import stored_study


@dataclass(frozen=True)
class Reach:
    """What one study reached over the shared objectives."""

    summary: Summary
    front: tuple[int, ...]
    """Trials that no other of the study beats in all shared objectives."""
    numbers: tuple[int, ...]
    """Of the complete trials, in order."""
    volumes: tuple[float, ...]
    """Hypervolume of the first 1, 2, .. of these, as a share of the box of physical ranges."""

    @property
    def name(self) -> str:
        return self.summary.config.name

    @property
    def volume(self) -> float:
        return self.volumes[-1] if self.volumes else 0.0


@dataclass(frozen=True)
class StudyComparison:
    """Two or more studies of one data set."""

    objectives: tuple[Objective, ...]
    """Those that all of them have."""
    reached: tuple[Reach, ...]
    differs: tuple[tuple[str, tuple[str, ...]], ...]
    """Settings, space and all, that are not the same in all: name, and what each has."""
    choices: tuple[Outcome, ...]
    """Of each, opened on one split: on test where all have finals, else the chosen trials on validation."""
    pairs: Comparison

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.reached)

    def document(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        return {
            "studies": [
                {
                    "study": one.name,
                    "trials": one.summary.finished,
                    "front": list(one.front),
                    "hypervolume": one.volume,
                    "hypervolumes": dict(zip(map(str, one.numbers), one.volumes, strict=True)),
                    "chosen": one.summary.chosen,
                    "run_key": choice.key[:16],
                }
                for one, choice in zip(self.reached, self.choices, strict=True)
            ],
            "objectives": [o.name for o in self.objectives],
            "differs": {name: dict(zip(self.names, values, strict=True)) for name, values in self.differs},
            "split": self.choices[0].split,
            "choices": self.pairs.document(),
        }


def compare_studies(home: Home, names: Sequence[str]) -> StudyComparison:
    """Finished trials of these studies held against each other; ConfigError if they are not of the same data, are
    judged by other judges, or have nothing in common."""
    if len(set(names)) < len(names):
        raise ConfigError(f"a study is named twice: {', '.join(names)}; name two different ones or more")
    if len(names) < 2:
        raise ConfigError("compare needs two studies or more")
    studies = [stored_study(home, name) for name in names]
    summaries = [summarise(home, study, stored_config(study)) for study in studies]
    first = summaries[0]
    for other in summaries:
        if other.chosen is None or other.chosen not in other.outcomes:
            raise ConfigError(f"study {other.config.name} has no complete trial in the store; repeat its sweep first")
        if PREPARE.key(other.config.base) != PREPARE.key(first.config.base):
            raise ConfigError(_other_images(first.config, other.config))
    objectives = tuple(o for o in first.config.objectives if all(o in s.config.objectives for s in summaries))
    if not objectives:
        asked = "; ".join(f"{s.config.name}: {', '.join(o.name for o in s.config.objectives)}" for s in summaries)
        raise ConfigError(f"these studies have no objective in common ({asked}); compare their choices by run key")
    judged = {REFERENCE.key(s.config.base, "val") for s in summaries}
    if len(judged) > 1 and any(o.needs_labels for o in objectives):
        raise ConfigError("these studies were scored by other judges, or with another number of samples: no pairs")
    ranges = [first.ranges[first.config.objectives.index(o)] for o in objectives]
    choices = _choices(summaries)
    return StudyComparison(
        objectives,
        tuple(_reach(summary, objectives, ranges) for summary in summaries),
        _differences(summaries),
        choices,
        replace(compare_runs(home, list(choices)), names=tuple(names)),
    )


def _other_images(first: StudyConfig, other: StudyConfig) -> str:
    """Why two studies can't be held against each other: of other data, or of other splits of one data set."""
    of_first, of_other = first.base.data, other.base.data
    if of_first.same_images(of_other):
        how = f"both are of {of_other.dataset}, split in another way"
    else:
        again = ", whose images were others then" if of_first.dataset == of_other.dataset else ""
        how = f"the one is of {of_other.dataset}, the other of {of_first.dataset}{again}"
    return f"studies {other.name} and {first.name} saw other images: {how}"


def _reach(summary: Summary, objectives: tuple[Objective, ...], ranges: list[tuple[float, float]]) -> Reach:
    complete = summary.frame[summary.frame["state"] == "complete"]
    found = gains(complete[[o.name for o in objectives]].to_numpy(dtype=float), ranges)
    numbers = tuple(int(n) for n in complete["number"])
    volumes = tuple(hypervolume_history(np.nan_to_num(found)))
    return Reach(summary, pareto_front(summary.frame, objectives), numbers, volumes)


def _choices(summaries: Sequence[Summary]) -> tuple[Outcome, ...]:
    if all(s.finals for s in summaries):
        return tuple(s.finals[0] for s in summaries)
    return tuple(s.outcomes[s.chosen] for s in summaries if s.chosen is not None)


def _differences(summaries: Sequence[Summary]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What makes them other studies: spec by spec, a dash for what one has not."""
    specs = [s.config.spec() | {"trials": s.finished, "final_seeds": s.closing.final_seeds} for s in summaries]
    names = dict.fromkeys(name for spec in specs for name in spec)
    rows = ((name, tuple(str(spec.get(name, "-")) for spec in specs)) for name in names)
    return tuple((name, values) for name, values in rows if len(set(values)) > 1)
