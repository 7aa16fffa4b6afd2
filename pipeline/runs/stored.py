"""What is known of a stored run without its numbers: its name, its settings, whether it is whole. Needs no torch."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.config.sections import MOST_NOISE
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.runs.names import differences, label_of, own_name, run_name, setting_words
from pipeline.stages.graph import ANOMALIES, DENOISE, run_key
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH, MANIFEST


def stored_config(folder: Path) -> RunConfig:
    """The configuration of the run in that folder of the store."""
    if (folder / "config.json").exists():
        return RunConfig.from_stored(read_json(folder / "config.json"))
    tables = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))  # stored before 2026-11-25
    return RunConfig.from_stored(
        {f"{section}.{key}": v for section, table in tables.items() for key, v in table.items()}
    )


def finished_at(home: Home, keys: Iterable[str]) -> str:
    """When the last of these runs was finished: UTC, ISO 8601; "" where none is in the store."""
    manifests = (home.store.path("run", key) / MANIFEST for key in keys)
    return max((str(read_json(path)["finished_at"]) for path in manifests if path.exists()), default="")


def is_whole(home: Home, key: str) -> bool:
    """Whether a run is in the store with everything that it consists of, as it was written."""
    return home.store.has("run", key) and not damage(home, run_parts(home, key))


def run_parts(home: Home, key: str) -> dict[str, str]:
    """What a run consists of: stage -> key."""
    stages: dict[str, str] = read_json(home.store.path("run", key) / "run.json")["stages"]
    return stages


def seconds_of(home: Home, stages: Mapping[str, str]) -> float:
    """What the stages of a run took, by their manifests; those that are gone or damaged count nothing. Trainings of
    judges, and what else a run shares with others, are none of its stages."""
    total = 0.0
    for stage, key in stages.items():
        try:
            total += float(read_json(home.store.path(stage, key) / MANIFEST)["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return round(total, 1)


def recipe_keys(home: Home, config: RunConfig, split: str, classes: int) -> dict[str, tuple[str, ...]]:
    """What there is of each recipe of a run, by stage: a key for every value of its setting that was asked for."""
    values = {DENOISE: ("denoise.level", range(1, MOST_NOISE + 1)), ANOMALIES: ("anomalies.held_out", range(classes))}
    found = {}
    for recipe, (setting, possible) in values.items():
        there = (home.store.root / recipe.name).exists()  # most homes have none
        keys = (recipe.key(config.with_settings({setting: value}), split) for value in (possible if there else ()))
        found[recipe.name] = tuple(key for key in keys if home.store.has(recipe.name, key))
    return found


def damage(home: Home, stages: dict[str, str]) -> list[str]:
    """What is wrong with the parts of a run, in words."""
    return [
        f"{stage} {key[:KEY_LENGTH]} ({', '.join(home.store.damaged(stage, key))})"
        for stage, key in stages.items()
        if not home.store.has(stage, key)
    ]


# ---- found by what people type -------------------------------------------------------------------------------------

NAMED = 5
"""Things that an error names; of more it says how many."""
FEW = 3
"""Runs that it names where none of them was meant."""
LAST = "@last"
"""What was finished last."""


@dataclass(frozen=True)
class Known:
    """A stored run as a name may mean it. Read from its configuration alone, so that a part of it that is damaged
    stands in no other run's way."""

    home: Home
    key: str

    @cached_property
    def config(self) -> RunConfig:
        return stored_config(self.home.store.path("run", self.key))

    @cached_property
    def name(self) -> str:
        """What it is called now."""
        return label_of(self.home, self.key).name or own_name(self.home, self.key, self.config)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What it is called now, was called when it was made, and would have been called before names were kept."""
        made = own_name(self.home, self.key, self.config)
        return tuple(dict.fromkeys((self.name, made, run_name(self.config, self.key))))

    @cached_property
    def finished(self) -> str:
        """UTC, ISO 8601."""
        try:
            return str(read_json(self.home.store.path("run", self.key) / MANIFEST)["finished_at"])
        except (OSError, ValueError, KeyError):
            return ""

    @cached_property
    def split(self) -> str:
        """The split it was opened on; "" where that cannot be read."""
        try:
            return str(read_json(self.home.store.path("run", self.key) / "run.json")["split"])
        except (OSError, ValueError, KeyError):
            return ""

    def is_called(self, text: str) -> bool:
        """Whether that is one of its names, or its key."""
        return text in self.names or text in (self.key, self.key[:KEY_LENGTH])

    def begins(self, text: str) -> bool:
        """Whether one of its names, or its key, begins so."""
        return self.key.startswith(text) or any(name.startswith(text) for name in self.names)


def known_runs(home: Home) -> list[Known]:
    """Every stored run, as it lies in the store."""
    return [Known(home, key) for key in home.store.keys("run")]


def damaged_runs(home: Home) -> list[str]:
    """A sentence on every run whose own files are not what was written, which is therefore in no list."""
    return [
        f"run {key} is damaged ({', '.join(files)}); repeat the command that made it"
        for key, files in home.store.broken("run").items()
    ]


def beside_the_damaged(home: Home) -> str:
    """How many runs are in no list, to follow one; "" where there is none."""
    n = len(home.store.broken("run"))
    return f"; {n} more {'is' if n == 1 else 'are'} damaged: `cvae-pipe status` names what" if n else ""


def meant(runs: Iterable[Known], text: str) -> list[Known]:
    """The runs that a text may mean, newest first: those called exactly so, else those whose name or key begins so; of
    the latter the ones opened on test where there are any, since nobody named a sweep's trials."""
    runs = list(runs)
    called = [run for run in runs if run.is_called(text)]
    found = [run for run in called if run.name == text] or called
    if len(found) > 1:  # of one configuration, made by several versions of a stage: the one that is found today
        found = [run for run in found if run.key == run_key(run.config, run.split)] or found
    if not found:
        begun = [run for run in runs if run.begins(text)]
        found = [run for run in begun if run.split == "test"] or begun
    return sorted(found, key=lambda run: (run.finished, run.key), reverse=True)


def find_runs(home: Home, name: str) -> list[str]:
    """Keys of the stored runs that a name, a key, or the beginning of either may mean."""
    return [run.key for run in meant(known_runs(home), name)]


def find_run_key(home: Home, name: str) -> str:
    """The key of the one stored run that `name` means: its name, its key, the beginning of either, its report's folder
    or report.html, or @last. ConfigError with the candidates if there is none, or several."""
    text, runs = name_in(home, name), known_runs(home)
    if text == LAST:
        if not runs:
            raise ConfigError("there is no run yet; `cvae-pipe run --dataset digits` makes one")
        return latest(runs).key
    found = meant(runs, text)
    if len(found) == 1:
        return found[0].key
    if found:
        raise ConfigError(f"{name!r} fits {len(found)} runs; write more of one of {candidates(found)}")
    raise ConfigError(f"there is no run {name!r}; finished runs are {nearest(runs, text)}{beside_the_damaged(home)}")


def latest(runs: Iterable[Known]) -> Known:
    """The run that was finished last; of those opened on test where there are any: trials of a sweep are not."""
    runs = list(runs)
    return max([run for run in runs if run.split == "test"] or runs, key=lambda run: (run.finished, run.key))


def name_in(home: Home, text: str) -> str:
    """The name that a text has: itself, or the name of the folder that it leads to, a report's page or folder."""
    path = Path(text).expanduser()
    page = path.name == "report.html"
    if not page and ("/" not in text or not path.is_dir()):
        return text.rstrip("/") if text.rstrip("/") else text
    folder = path.resolve().parent if page else path.resolve()
    return folder.name if folder.parent == home.reports.resolve() else text


def nearest(runs: Sequence[Known], text: str) -> str:
    """The runs whose names are most like a text, then the newest; "none yet" where there is none."""
    by_name = {name: run for run in runs for name in run.names}
    near = [by_name[found] for found in difflib.get_close_matches(text, by_name, NAMED)]
    opened = [run for run in runs if run.split == "test"] or runs
    newest = sorted(opened, key=lambda run: (run.finished, run.key), reverse=True)
    return candidates([*dict.fromkeys(near), *(run for run in newest if run not in near)], most=FEW) or "none yet"


def candidates(runs: Sequence[Known], *, most: int = NAMED) -> str:
    """The first of these runs by name, each with its date and what it differs in from the others, and how many more
    there are."""
    shown = runs[:most]
    own = [differences(run.config) for run in shown]
    told = [name for name in dict.fromkeys(n for o in own for n in o) if len({str(o.get(name)) for o in own}) > 1]
    said = []
    for run, settings in zip(shown, own, strict=True):
        apart = {name: settings[name] for name in told if name in settings}
        what = setting_words(apart or settings) or "defaults"
        split = f"{run.split}, " if run.split not in ("", "test") else ""
        said.append(f"{run.name} ({day(run.finished)}: {split}{what}; {run.key[:8]})")
    more = f" and {len(runs) - most} more, which `cvae-pipe ls runs` lists" if len(runs) > most else ""
    return ", ".join(said) + more


def day(iso: str) -> str:
    """A time as lists show it: 2026-11-30 20:40."""
    return re.sub("T", " ", iso)[:16] or "no date"
