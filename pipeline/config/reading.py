"""Where a configuration comes from: defaults < data set preset < TOML < flags and --set. Reads the file it is given."""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.config.sections import DATASETS, DataConfig
from pipeline.config.settings import RETIRED, SECTIONS, RunConfig, suggestion
from pipeline.errors import ConfigError, DataError

PRESETS: dict[str, dict[str, Any]] = {
    # 1,797 images: keep enough of them in val and test for per-class statistics, and let the judges see more epochs.
    # The gates are what a judge reaches on so few 8 x 8 images, not what one would wish for.
    "digits": {
        "data.val_fraction": 0.25,
        "train.epochs": 60,
        "judge.epochs": 40,
        "judge.mlp_epochs": 60,
        "judge.batch_size": 64,
        "gates.enforce": False,
    },
}
"""Per data set, the settings whose defaults differ from the MNIST ones."""


FOUND = frozenset({"data.content", "data.images"})
"""What is found by looking at images of one's own, never typed."""
IDENTITY = FOUND | {"data.dataset"}
"""Which images a configuration is of."""


def own_preset(images: int) -> dict[str, Any]:
    """What so many images of one's own, to train and validate on, ask for instead of the defaults, which are MNIST's.

    About as many steps of a training, and images enough to validate on and to judge by; gates that are relative.
    """
    fewer: dict[str, Any] = {"gates.relative": True, "gates.enforce": False}
    if images < 20_000:
        fewer |= {"judge.batch_size": 64, "judge.epochs": 10, "judge.mlp_epochs": 20}
        fewer |= {"data.val_fraction": 0.15, "train.epochs": 40}
    if images < 5_000:
        fewer |= {"judge.epochs": 40, "judge.mlp_epochs": 60, "data.val_fraction": 0.25, "train.epochs": 60}
    if images < 500:
        fewer |= {"judge.batch_size": 16, "train.batch_size": 16, "train.epochs": 100}
    return fewer


def usual_config(config: RunConfig) -> RunConfig:
    """The defaults for the images of a configuration."""
    data = config.data
    if not data.own:
        return RunConfig().with_settings(PRESETS.get(data.dataset, {}))
    own = {"data.content": data.content, "data.images": data.images, "data.dataset": data.dataset}
    return RunConfig().with_settings({**own_preset(data.images), **own})


Look = Callable[[str], tuple[str, str, int]]
"""Images of one's own: the path as typed -> the whole path, the SHA-256 of the content, images to train on."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError if it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        short = re.search(r"=\s*([-+]?)(\.\d+)", path.read_text(encoding="utf-8"))  # a number to everybody but TOML
        hint = f"; write {short[1]}0{short[2]} for {short[1]}{short[2]}" if short else ""
        raise ConfigError(f"{path} is not valid TOML: {error}{hint}") from None


@dataclass(frozen=True)
class Given:
    """A value that somebody gave a setting, as it was typed, and where."""

    value: Any
    source: str
    """--beta, --set, or the name of a file."""


def given_settings(
    tables: Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    other_tables: Iterable[str] = ("space",),
    file: str = "",
    options: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Given]:
    """What was given, by setting: TOML tables < flags and --set entries ("section.key=value").

    `flags` maps setting names to values, None meaning "not given"; `options` what they are called. Tables named in
    `other_tables` belong to somebody else (a sweep's search space) and are passed over. ConfigError for what names no
    setting, and for a setting that a flag and --set, or two of the latter, give two values: neither is to be ignored.
    """
    given: dict[str, Given] = {}
    for section, table in (tables or {}).items():
        if section in other_tables:
            continue
        if section not in SECTIONS:
            near = suggestion(section)
            under, _, key = near.partition(".")
            hint = f"; did you mean {near}? Write {key} = .. under [{under}]" if near else ""
            where, known = f" in {file}" if file else "", ", ".join([*SECTIONS, *other_tables])
            raise ConfigError(f"unknown table [{section}]{where}; tables are {known}{hint}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{section} is {table!r}; it must be a table: [{section}]")
        named = {f"{section}.{key}": Given(value, file) for key, value in table.items()}
        given |= {name: value for name, value in named.items() if name not in RETIRED}  # the file may be an old one
    typed = {name: Given(value, options.get(name, name)) for name, value in (flags or {}).items() if value is not None}
    for entry in sets:
        name, equals, value = entry.partition("=")
        name = name.strip()
        if not equals:
            raise ConfigError(f"--set {entry} has no value; write --set section.key=value, e.g. --set train.beta=4")
        if name in typed and _parsed(name, typed[name].value) != _parsed(name, value):
            other = typed[name]
            how = f"--set {name}={other.value}" if other.source == "--set" else f"{other.source} {other.value}"
            raise ConfigError(f"{name} is given twice: {how} and --set {entry}; give it once")
        typed[name] = Given(value, "--set")
    return given | typed


def _parsed(name: str, value: Any) -> Any:
    return RunConfig().with_settings({name: value}).flat()[name]


def build_config(
    tables: Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    other_tables: Iterable[str] = ("space",),
    look: Look | None = None,
) -> RunConfig:
    """One RunConfig from defaults < data set preset < TOML tables < flags and --set entries; see `given_settings`."""
    return config_of(given_settings(tables, sets=sets, flags=flags, other_tables=other_tables), look)


def config_of(given: Mapping[str, Given], look: Look | None = None) -> RunConfig:
    """The defaults, the data set's preset, and what was given over them; see `identified`."""
    settings = identified({name: one.value for name, one in given.items()}, look)
    images = RunConfig().with_settings({name: settings[name] for name in IDENTITY if name in settings})
    return usual_config(images).with_settings(settings)


def identified(settings: Mapping[str, Any], look: Look | None = None) -> dict[str, Any]:
    """Settings, and what is found out of the images that they name.

    A `data.dataset` that is no known name is a path, which `look` looks at; ConfigError where a file names other images
    (`data.content`) than are there now.
    """
    dataset, named = settings.get("data.dataset", DataConfig.dataset), settings.get("data.content")
    if not isinstance(dataset, str) or dataset in DATASETS or look is None:
        return dict(settings)
    try:
        path, content, images = look(dataset)
    except DataError:
        if not named:
            raise
        return dict(settings)  # they are gone, and what they were is named: all may be in the store
    if named and named != content:
        raise ConfigError(
            f"{dataset} no longer holds the images that this configuration is of (data.content); bring them back, "
            "or take data.content and data.images out of the file to use those that are there"
        )
    return {**settings, "data.dataset": path, "data.content": content, "data.images": images}


def sources(config: RunConfig, given: Mapping[str, Given]) -> dict[str, str]:
    """Where each setting of that configuration comes from: default, preset of the data set, a file, a flag."""
    defaults, usual = RunConfig().flat(), usual_config(config).flat()
    preset = {name: f"preset of {config.data.name}" for name, value in usual.items() if value != defaults[name]}
    return dict.fromkeys(defaults, "default") | preset | {name: one.source for name, one in given.items()}
