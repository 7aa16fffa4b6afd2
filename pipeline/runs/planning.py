"""What a command would do: which results are there, which would be built and why, how long that should take here.

Reads keys, configurations and manifests; builds nothing, writes nothing, loads no torch. Times are those of the most
similar result that this home has measured; where there is none, nothing is said of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pipeline.config.settings import RunConfig
from pipeline.runs.names import setting_words
from pipeline.runs.stored import Known, known_runs
from pipeline.stages.graph import STAGES, TRAIN, Stage
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST


@dataclass(frozen=True)
class Step:
    """A result that a command needs."""

    title: str
    there: bool
    why: str = ""
    """Why it would be built."""
    seconds: float | None = None
    """That building it should take; None where nothing like it was measured."""
    bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a command would do."""

    what: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    workers: int = 1
    """Processes that share the work."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of trials or cells: finished, left."""

    @property
    def to_do(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.there)

    @property
    def seconds(self) -> float | None:
        """All of it, shared by the workers; None where a part was never measured."""
        times = [step.seconds for step in self.to_do]
        return None if None in times else sum(t for t in times if t is not None) / self.workers

    @property
    def bytes(self) -> int:
        """On the disk, as far as it is known."""
        return sum(step.bytes or 0 for step in self.to_do)

    def lines(self) -> list[str]:
        """The plan as people read it."""
        width = max((len(step.title) for step in self.steps), default=0)
        left = f"{len(self.to_do)} of {len(self.steps)} to do" if self.to_do else "nothing to do"
        lines = [f"{self.what}: {left}"]
        for step in self.steps:
            time = "" if step.there or step.seconds is None else f", {about(step.seconds)}"
            lines.append(f"  {step.title:<{width}}  {'up to date' if step.there else f'to do: {step.why}{time}'}")
        lines += list(self.notes)
        if self.to_do:
            shared = f" with {self.workers} workers" if self.workers > 1 else ""
            time = "unknown, since nothing like it was measured in this home"
            if self.seconds is not None:
                time = f"{about(self.seconds)}{shared}, by what this home measured"
            disk = f"; disk about {self.bytes / 2**20:,.1f} MB" if self.bytes else ""
            lines.append(f"time: {time}{disk}")
        return lines


def about(seconds: float) -> str:
    """A length of time as people say it, no more exactly than it is known."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Measured:
    """What a home's stored runs say of the cost of stages."""

    home: Home

    @cached_property
    def runs(self) -> list[Known]:
        return known_runs(self.home)

    def nearest(self, config: RunConfig) -> Known | None:
        """The stored run with the fewest other settings, of the same data set where there is one."""

        flat = config.anywhere.flat()

        def distance(run: Known) -> tuple[bool, int, str]:
            other = run.config.anywhere.flat()
            differ = sum(other[name] != value for name, value in flat.items() if not name.startswith("runtime."))
            return not run.config.data.same_images(config.data), differ, run.key

        return min(self.runs, key=distance, default=None)

    def cost(self, stage: Stage, config: RunConfig, split: str) -> tuple[float | None, int | None]:
        """Seconds and bytes of a stage, by the nearest run of the data set that has it; trainings by the epoch."""
        of_data = [run for run in self.runs if run.config.data.same_images(config.data)]
        flat = config.anywhere.flat()

        def distance(run: Known) -> int:
            other = run.config.anywhere.flat()
            return sum(other[name] != value for name, value in flat.items())

        for run in sorted(of_data, key=lambda run: (distance(run), run.key)):
            path = self.home.store.path(stage.name, stage.key(run.config, run.split or split)) / MANIFEST
            try:
                manifest = read_json(path)
                seconds = float(manifest["seconds"])
                size = sum(int(file["bytes"]) for file in manifest["files"].values())
            except (OSError, ValueError, KeyError):
                continue
            if stage is TRAIN:
                seconds *= config.train.epochs / run.config.train.epochs
            return seconds, size
        return None, None


def why(stage: Stage, config: RunConfig, split: str, near: Known | None) -> str:
    """Why a stage has no result for this configuration: what of it the nearest stored run has otherwise."""
    if near is None:
        return "nothing is stored yet"
    changed = changes(stage, config, split, near.config)
    if changed:
        return f"{setting_words(changed)}, against {near.name}"
    if stage.key(config, split) == stage.key(near.config, split) and stage.when(near.config, split):
        return "its result is gone from the store" if near.split == split else f"never opened on {split}"
    return "its code, or what it builds on, is another"


def changes(stage: Stage, config: RunConfig, split: str, other: RunConfig) -> dict[str, Any]:
    """The settings in which a configuration differs from another so that the stage's key is another."""
    before, theirs = stage.key(other, split), other.flat()
    return {
        name: value
        for name, value in config.flat().items()
        if value != theirs[name] and stage.key(other.with_settings({name: value}), split) != before
    }


def plan_run(home: Home, config: RunConfig, split: str = "test", *, force: bool = False) -> Plan:
    """What `run` would do."""
    measured = Measured(home)
    return Plan("run", tuple(steps(measured, config, split, force=force)))


def steps(measured: Measured, config: RunConfig, split: str, *, force: bool = False) -> Iterable[Step]:
    """Every stage of a run opened on a split, in order."""
    store, near = measured.home.store, measured.nearest(config)
    for stage in STAGES:
        if not stage.when(config, split):
            continue
        title, key = stage.title(config, split), stage.key(config, split)
        forced = force and not stage.shared
        if store.has(stage.name, key) and not forced:
            yield Step(title, True)
            continue
        reason = "--force" if forced else why(stage, config, split, near)
        if stage.resumable and not forced and any(store.partial(stage.name, key).glob("*")):
            reason = "it was interrupted, and goes on"
        yield Step(title, False, reason, *measured.cost(stage, config, split))
