"""What every stage is given (a configuration, a place, somebody to tell) and what it gives back."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.config.sections import RuntimeConfig
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.stages.graph import Stage
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST

log = logging.getLogger("cvae-pipe")


def silent(message: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class Context:
    """What every stage is given: a configuration, a place, and somebody to tell."""

    config: RunConfig
    home: Home
    say: Callable[[str], None] = silent
    progress: Callable[[str, int, int, str], None] = field(default=lambda what, done, total, note: None)
    """Called with (what, done, total, note) during long work."""
    force: set[str] = field(default_factory=set)
    """Stages to build anew, once, even if their results are there."""
    told: set[str] = field(default_factory=set)
    """What has been said of up-to-date stages: once is enough."""

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        return device_of(self.config.runtime)

    def build(self, stage: Stage, make: Callable[[Path], None], split: str = "") -> Path:
        """The stage's directory in the store; says whether it was made or was there."""
        name, force = stage.title(self.config, split), stage.name in self.force
        key = stage.key(self.config, split)
        folder, made = self.home.store.build(stage.name, key, make, resumable=stage.resumable, force=force)
        self.force.discard(stage.name)
        seconds = read_json(folder / MANIFEST)["seconds"]
        if made or name not in self.told:
            log.debug("%s: key %s, %.1f s when it was made, %s", name, key[:KEY_LENGTH], seconds, folder)
        if made:
            self.say(f"{name}: done in {seconds:.1f} s")
        elif name not in self.told:
            self.say(f"{name}: up to date")
        self.told.add(name)
        return folder


def device_of(runtime: RuntimeConfig) -> torch.device:
    """The device that a setting names; ConfigError if there is none of that kind."""
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("runtime.device is cuda, but torch sees no CUDA device; use --device cpu")
    return torch.device(name)


@dataclass(frozen=True)
class Result:
    """What a stage adds to a run: numbers of one split, facts; and the folder with its grids and per-image numbers."""

    folder: Path
    metrics: dict[str, float] = field(default_factory=dict)
    """Under their keys, <split>/<name>."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a run remembers beside its numbers."""


def require_labels(config: RunConfig, stage: str) -> None:
    if config.model.kind != "cvae":
        raise ConfigError(
            f"{stage} needs --model cvae: {config.model.kind} takes no label, so conditional accuracy, coverage and "
            "diversity per class are not defined for it; evaluate works for every model"
        )
