"""Where a configuration comes from: defaults < data set preset < TOML < flags and --set. Reads the file it is given."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.sections import DataConfig
from pipeline.config.settings import RETIRED, SECTIONS, RunConfig
from pipeline.errors import ConfigError

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


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; ConfigError if it is missing or is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def build_config(
    tables: Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    other_tables: Iterable[str] = ("space",),
) -> RunConfig:
    """One RunConfig from defaults < data set preset < TOML tables < flags < --set entries ("section.key=value").

    `flags` maps setting names to values, None meaning "not given". Tables named in `other_tables` belong to
    somebody else (a sweep's search space) and are passed over.
    """
    settings: dict[str, Any] = {}
    for section, table in (tables or {}).items():
        if section in other_tables:
            continue
        if section not in SECTIONS:
            raise ConfigError(f"unknown table [{section}]; tables are {', '.join([*SECTIONS, *other_tables])}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{section} is {table!r}; it must be a table: [{section}]")
        named = {f"{section}.{key}": value for key, value in table.items()}
        settings |= {name: value for name, value in named.items() if name not in RETIRED}  # the file may be an old one
    settings |= {name: value for name, value in (flags or {}).items() if value is not None}
    for entry in sets:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ConfigError(f"--set {entry} has no value; write --set section.key=value, e.g. --set train.beta=4")
        settings[name.strip()] = value
    dataset = RunConfig().with_settings({"data.dataset": settings.get("data.dataset", DataConfig.dataset)}).data.dataset
    return RunConfig().with_settings({**PRESETS.get(dataset, {}), **settings})
