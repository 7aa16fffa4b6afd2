"""What is known of a stored run without its numbers: its name, its settings, whether it is whole. Needs no torch."""

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pipeline.config.reading import build_config
from pipeline.config.settings import RunConfig
from pipeline.errors import ConfigError
from pipeline.store.files import read_json
from pipeline.store.home import Home
from pipeline.store.store import KEY_LENGTH


def run_name(config: RunConfig, key: str) -> str:
    """What people call a run: its data set, model, the two settings that matter most, and the start of its key."""
    beta = "" if config.model.kind == "ae" else f"-beta{config.train.beta:.3g}"
    kind = config.model.title.replace(" ", "-")
    return f"{config.data.dataset}-{kind}{beta}-z{config.model.latent_dim}-{key[:8]}"


def stored_config(folder: Path) -> RunConfig:
    """The configuration of the run in that folder of the store."""
    if (folder / "config.json").exists():
        return RunConfig.from_stored(read_json(folder / "config.json"))
    tables = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))  # stored before 2026-11-25
    return RunConfig.from_stored(
        {f"{section}.{key}": v for section, table in tables.items() for key, v in table.items()}
    )


def differences(config: RunConfig) -> dict[str, Any]:
    """The settings that are not what the data set's defaults are; how things run is none of them."""
    usual = build_config(flags={"data.dataset": config.data.dataset}).flat()
    return {
        name: value
        for name, value in config.flat().items()
        if value != usual[name] and name.partition(".")[0] not in ("runtime", "gates") and name != "data.dataset"
    }


def is_whole(home: Home, key: str) -> bool:
    """Whether a run is in the store with everything that it consists of, as it was written."""
    return home.store.has("run", key) and not damage(home, run_parts(home, key))


def run_parts(home: Home, key: str) -> dict[str, str]:
    """What a run consists of: stage -> key."""
    stages: dict[str, str] = read_json(home.store.path("run", key) / "run.json")["stages"]
    return stages


def damage(home: Home, stages: dict[str, str]) -> list[str]:
    """What is wrong with the parts of a run, in words."""
    return [
        f"{stage} {key[:KEY_LENGTH]} ({', '.join(home.store.damaged(stage, key))})"
        for stage, key in stages.items()
        if not home.store.has(stage, key)
    ]


NAMED = 5
"""Runs that an error names; of more it says how many."""


def find_runs(home: Home, name: str) -> list[str]:
    """Keys of the stored runs whose key or name begins with `name`."""
    return [key for key in home.store.keys("run") if key.startswith(name) or _name(home, key).startswith(name)]


def find_run_key(home: Home, name: str) -> str:
    """The key of the one stored run of that name, key, or the beginning of either; ConfigError with the candidates if
    there is none, or several."""
    keys = find_runs(home, name)
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise ConfigError(f"{name!r} fits {len(keys)} runs; write more of one of {_some(home, keys)}")
    everything = list(home.store.keys("run"))
    names = {_name(home, key): key for key in everything}
    near = [names[found] for found in difflib.get_close_matches(name, names, NAMED)]
    listed = _some(home, [*near, *(key for key in everything if key not in near)]) or "none yet"
    raise ConfigError(f"there is no run {name!r}; finished runs are {listed}")


def _some(home: Home, keys: list[str]) -> str:
    """The first of these runs by name, with what is no default of them, and how many more there are."""
    said = []
    for key in keys[:NAMED]:
        own = differences(stored_config(home.store.path("run", key)))
        what = ", ".join(f"{setting.partition('.')[2]} {value}" for setting, value in list(own.items())[:3])
        said.append(f"{_name(home, key)} ({what or 'defaults'})")
    more = f" and {len(keys) - NAMED} more, which `cvae-pipe status --all` lists" if len(keys) > NAMED else ""
    return ", ".join(said) + more


def _name(home: Home, key: str) -> str:
    """A run's name, from its configuration alone: a part of it that is damaged stands in no other run's way."""
    return run_name(stored_config(home.store.path("run", key)), key)
