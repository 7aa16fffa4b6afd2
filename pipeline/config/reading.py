"""Where a configuration comes from: defaults < data set preset < TOML < flags and --set. Reads the file it is given."""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.sections import DATASETS, DataConfig
from pipeline.config.settings import RETIRED, SECTIONS, RunConfig
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
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def build_config(
    tables: Mapping[str, Any] | None = None,
    *,
    sets: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    other_tables: Iterable[str] = ("space",),
    look: Look | None = None,
) -> RunConfig:
    """One RunConfig from defaults < data set preset < TOML tables < flags < --set entries ("section.key=value").

    `flags` maps setting names to values, None meaning "not given". Tables named in `other_tables` belong to
    somebody else (a sweep's search space) and are passed over. A `data.dataset` that is no known name is a path, which
    `look` looks at; ConfigError where a file names other images (`data.content`) than are there now.
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
    dataset = settings.get("data.dataset", DataConfig.dataset)
    if not isinstance(dataset, str) or dataset in DATASETS or look is None:
        found = {name: settings[name] for name in IDENTITY if name in settings}
        usual = usual_config(RunConfig().with_settings({"data.dataset": dataset} | found))
        own = {}
    else:
        try:
            path, content, images = look(dataset)
        except DataError:
            if not settings.get("data.content"):
                raise
            # They are gone, and what they were is named: all may be in the store.
            return build_config({}, flags={"data.dataset": dataset} | settings)
        if settings.get("data.content", content) not in (content, ""):
            raise ConfigError(
                f"{dataset} no longer holds the images that this configuration is of (data.content); bring them back, "
                "or take data.content and data.images out of the file to use those that are there"
            )
        own = {"data.content": content, "data.images": images, "data.dataset": path}
        usual = RunConfig().with_settings(own_preset(images))
    return usual.with_settings({**own, **{k: v for k, v in settings.items() if not own or k not in IDENTITY}})
