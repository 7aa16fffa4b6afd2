"""What a home holds, by name, and which results each of it needs: what is needed by nobody is garbage. Writes nothing.

A study needs its trials on validation images, their rungs, and every stored run that is one of its trials trained
again; an ablation its cells; a report the runs that its numbers are of; a run of its own everything it is made of.
"""

import html
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.config.flags import flags
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.runs.names import label_of, own_name, run_name
from pipeline.runs.needs import Entry, entry, family, needs
from pipeline.runs.stored import recipe_keys, run_parts, stored_config
from pipeline.stages.graph import TRAIN, run_key, rung_key
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST
from sweeps.study.ablation import AblationConfig, ablate_command, every_ablation
from sweeps.study.closing import recorded_closing
from sweeps.study.config import StudyConfig
from sweeps.study.config import stored_config as study_config
from sweeps.study.reading import StoredStudy, StoredTrial, stored_studies

Kind = Literal["study", "ablation", "run", "report"]

NOT_STAGES = frozenset({"locks", "partial", "damaged", "trash"})
"""Folders of the store that are no stages."""
RECORDS = frozenset({"opened"})
"""Stages that are records of what happened, which nothing makes undone."""
CITED = re.compile(r'data-run="([0-9a-f ]+)"')
CITED_STUDY = re.compile(r'data-study="([^"]+)"')


@dataclass(frozen=True)
class Holding:
    """A study, an ablation, a run of its own, or a report of others."""

    kind: Kind
    name: str
    needs: frozenset[Entry]
    """Results that it needs, those included that are not there (yet)."""
    reports: tuple[Path, ...] = ()
    """Folders of its report."""
    command: str = ""
    """What makes anew whatever it lacks; "" for a report of others."""
    studies: tuple[str, ...] = ()
    """Studies whose numbers a report cites."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Stored:
    """A run in the store, as far as its owner is concerned."""

    key: str
    name: str
    names: tuple[str, ...]
    """What it is called, and was called before: its report is under one of these."""
    split: str
    config: RunConfig
    parts: frozenset[Entry]
    """The results that its numbers were read from."""
    entries: frozenset[Entry]
    """These and everything else that it is made of or checked against."""
    family: tuple[Any, ...] = field(repr=False)


class Holdings:
    """Everything in a home, read once. StudyError if the ledger cannot be read: then nobody knows what is needed."""

    def __init__(self, home: Home, ledger: Mapping[str, StoredStudy] | None = None) -> None:
        """`ledger`: the studies, where they are in no database yet."""
        self.home = home
        self._ledger = ledger

    @cached_property
    def runs(self) -> dict[str, Stored]:
        """Every run in the store by its key, 16 digits; what cannot be read is left out."""
        found = {}
        for folder in sorted((self.home.store.root / "run").glob("*")):
            try:
                key = read_json(folder / MANIFEST)["key"]
                config, stored = stored_config(folder), read_json(folder / "run.json")
                split, classes = stored["split"], stored.get("facts", {}).get("classes", 0)
                parts = frozenset(entry(*part) for part in run_parts(self.home, key).items())
            except (OSError, ValueError, KeyError, TypeError, ConfigError):
                continue
            asked = recipe_keys(self.home, config, split, classes)
            recipes = {entry(stage, own) for stage, keys in asked.items() for own in keys}
            entries = parts | {entry("run", key), *needs(config, split)} | recipes
            made = own_name(self.home, key, config)
            names = tuple(dict.fromkeys((label_of(self.home, key).name or made, made, run_name(config, key))))
            found[folder.name] = Stored(key, names[0], names, split, config, parts, entries, family(config))
        return found

    @cached_property
    def studies(self) -> dict[str, Holding]:
        ledger = stored_studies(self.home) if self._ledger is None else self._ledger
        return {name: self._study(study) for name, study in ledger.items()}

    def _study(self, study: StoredStudy) -> Holding:
        name = study.study_name
        trials = study.trials
        needed: set[Entry] = set()
        if trials:
            config = study_config(study)
            seeds = recorded_closing(study, config.objectives).final_seeds
            names = [o.name for o in config.objectives]
            again = set()
            for trial in trials:
                own = trial_config(config, trial)
                needed |= set(needs(own, "val"))
                needed |= {entry("rung", rung_key(own, "val", epoch, names)) for epoch in config.rungs}
                if run := trial.user_attrs.get("run_key"):
                    needed |= self.runs[run[:KEY_LENGTH]].entries if run[:KEY_LENGTH] in self.runs else set()
                base = config.base.train.seed
                finals = [own.with_settings({"train.seed": base + i}) for i in range(seeds)]
                needed |= {entry(TRAIN.name, TRAIN.key(final)) for final in finals}
                again.add(family(own))
            for run in self.runs.values():
                if run.family in again:
                    needed |= run.entries
        command = f"cvae-pipe sweep --name {shlex.quote(name)} --trials {len(trials)}"
        return Holding("study", name, frozenset(needed), self._folder(name), command)

    @cached_property
    def ablations(self) -> dict[str, Holding]:
        """Of several grids of one name, what any of them needs."""
        found: dict[str, Holding] = {}
        for key, config in every_ablation(self.home):
            needed = {entry("ablation", key)} | self._cells(config)
            if config.name in found:
                needed |= found[config.name].needs
            folders, command = self._folder(config.name), ablate_command(config)
            found[config.name] = Holding("ablation", config.name, frozenset(needed), folders, command)
        return found

    def _cells(self, config: AblationConfig) -> set[Entry]:
        cells = config.cells().values()
        own = {found for cell in cells for found in needs(cell, "test")}
        stored = [self.runs.get(run_key(cell, "test")[:KEY_LENGTH]) for cell in cells]
        return own | {found for run in stored if run for found in run.entries}

    @cached_property
    def reports(self) -> dict[str, Holding]:
        """Reports of none of these, e.g. of a comparison: by the name of their folder."""
        own = {folder for owner in (*self.studies.values(), *self.ablations.values()) for folder in owner.reports}
        names = {name for run in self.runs.values() for name in run.names}
        found = {}
        for page in sorted(self.home.reports.glob("*/report.html")):
            folder = page.parent
            if folder in own or folder.name in names:
                continue
            runs, studies = cited(page)
            needed = {e for run in runs if run in self.runs for e in self.runs[run].entries}
            found[folder.name] = Holding("report", folder.name, frozenset(needed), (folder,), studies=studies)
        return found

    @cached_property
    def single_runs(self) -> dict[str, Holding]:
        """Runs on test that are nobody's trial, final or cell, or that have a report of their own; by their key."""
        owned = {e for owner in (*self.studies.values(), *self.ablations.values()) for e in owner.needs}
        return {
            key: Holding("run", run.name, run.entries, folders, f"cvae-pipe run {flags(run.config)}")
            for key, run in self.runs.items()
            if (folders := self._own_folders(run)) or (run.split == "test" and entry("run", run.key) not in owned)
        }

    @cached_property
    def all(self) -> list[Holding]:
        return [
            holding
            for group in (self.studies, self.ablations, self.single_runs, self.reports)
            for holding in group.values()
        ]

    def owners(self, needed: Iterable[Entry]) -> list[Holding]:
        """Who needs any of these."""
        wanted = set(needed)
        return [holding for holding in self.all if holding.needs & wanted]

    def entries(self) -> Iterator[Entry]:
        """Every result in the store."""
        for stage in sorted(self.home.store.root.glob("*")):
            if stage.is_dir() and stage.name not in NOT_STAGES:
                yield from ((stage.name, folder.name) for folder in sorted(stage.iterdir()) if folder.is_dir())

    def partials(self) -> Iterator[tuple[Entry, Path]]:
        """Every result that was begun: what it would be, and where it is."""
        for folder in sorted((self.home.store.root / "partial").glob("*")):
            stage, _, key = folder.name.removesuffix(".old").rpartition("-")
            yield (stage, key), folder

    def _own_folders(self, run: Stored) -> tuple[Path, ...]:
        """Folders of a run's own report: of those under its names, the ones whose numbers are its."""
        found = (folder for name in run.names for folder in self._folder(name))
        return tuple(folder for folder in found if run.key[:KEY_LENGTH] in cited(folder / "report.html")[0])

    def _folder(self, name: str) -> tuple[Path, ...]:
        folder = self.home.reports / name
        return (folder,) if (folder / "report.html").exists() else ()


def trial_config(config: StudyConfig, trial: StoredTrial) -> RunConfig:
    """The configuration of a trial in the ledger."""
    return config.stored_trial_config(trial.number, trial.params)


def cited(page: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys of the runs, and names of the studies, that the numbers of a report are of."""
    text = page.read_text(encoding="utf-8", errors="replace")
    runs = {run for found in CITED.findall(text) for run in found.split()}
    return tuple(sorted(runs)), tuple(sorted({html.unescape(name) for name in CITED_STUDY.findall(text)}))
