"""What makes an ablation: one setting, its values, the training seeds; written down, and found again by name."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config.digests import digest
from pipeline.config.flags import flags
from pipeline.config.settings import RunConfig, keyed
from pipeline.errors import ConfigError
from pipeline.store.files import read_json, write_json
from pipeline.store.home import Home
from pipeline.store.store import MANIFEST
from sweeps.study.space import number


@dataclass(frozen=True)
class AblationConfig:
    """The grid: one setting, its values, and the training seeds of each."""

    name: str
    base: RunConfig
    setting: str
    """section.key of a numeric setting."""
    values: tuple[float, ...]
    seeds: int

    def __post_init__(self) -> None:
        if len(set(self.values)) < 2:
            raise ConfigError(
                f"--values are {', '.join(f'{v:g}' for v in self.values)}; give two different ones or more"
            )
        if self.seeds < 1:
            raise ConfigError(f"--seeds is {self.seeds}; it must be 1 or more (5 for a claim)")
        self.cells()  # every value must be one that the setting allows

    @property
    def key(self) -> str:
        """The setting's name without its section."""
        return self.setting.partition(".")[2]

    @property
    def log(self) -> bool:
        """Whether slopes and axes are over the logarithm: where all values are above 0 and span a factor of 4."""
        return min(self.values) > 0 and max(self.values) >= 4 * min(self.values)

    def cells(self) -> dict[str, RunConfig]:
        """Every configuration by its name, seeds innermost."""
        return {
            f"{self.key}={number(value)} seed {self.base.train.seed + i}": self.base.with_settings(
                {self.setting: _whole(value), "train.seed": self.base.train.seed + i}
            )
            for value in self.values
            for i in range(self.seeds)
        }


def ablation_params(config: AblationConfig) -> dict[str, Any]:
    """What a tracker shows of the grid beside its name: every setting, the varied one with all its values."""
    values = ", ".join(f"{v:g}" for v in config.values)
    return {**config.base.flat(), config.setting: values, "seeds": config.seeds}


def ablation_key(config: AblationConfig) -> str:
    """What the grid's own run in the tracker is found by."""
    computed = {name: v for name, v in keyed(ablation_params(config)).items() if not name.startswith("runtime.")}
    return digest("ablation", config.name, config.setting, computed)[:16]


def ablate_command(config: AblationConfig) -> str:
    """The command that makes this grid anew, or goes on with it."""
    return (
        f"cvae-pipe ablate --param {config.setting} --values {','.join(map(number, config.values))} "
        f"--seeds {config.seeds} --judges {config.base.panel.judges} --name {shlex.quote(config.name)} "
        f"{flags(config.base, leave_out=frozenset({config.setting, 'panel.judges'}))}"
    )


def parse_values(text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--values is {text!r}; it must be numbers with commas between, e.g. 0.5,1,2,4") from None


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def keep_definition(home: Home, config: AblationConfig) -> None:
    """Write down what the grid is, so that its report can be made again from its name."""
    held = asdict(config) | {"base": config.base.flat()}

    def make(work: Path) -> None:
        write_json(work / "definition.json", held)

    home.store.build("ablation", digest("ablation", held | {"base": keyed(held["base"])}), make)


def every_ablation(home: Home) -> list[tuple[str, AblationConfig]]:
    """Every grid that was begun, with its key in the store, the one begun last at the end."""
    folders = [(key, home.store.path("ablation", key)) for key in home.store.keys("ablation")]
    found = []
    for key, folder in sorted(folders, key=lambda pair: (pair[1] / MANIFEST).stat().st_mtime_ns):
        held = read_json(folder / "definition.json")
        base = RunConfig.from_stored(held["base"])
        found.append((key, AblationConfig(**held | {"base": base, "values": tuple(held["values"])})))
    return found


def begun(home: Home) -> dict[str, str]:
    """When each ablation was begun, by name: UTC, ISO 8601; of two with one name, the later one."""
    folders = [home.store.path("ablation", key) for key in home.store.keys("ablation")]
    dates = sorted((str(read_json(f / MANIFEST)["finished_at"]), f) for f in folders)
    return {str(read_json(folder / "definition.json")["name"]): date for date, folder in dates}


def stored_ablations(home: Home) -> dict[str, AblationConfig]:
    """The grids that were begun, by name; of two with one name, the later one."""
    return {config.name: config for _, config in every_ablation(home)}
