"""RunConfig: every section together, and settings by name: "section.key" read, typed, replaced, written as TOML."""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.sections import (
    AnomaliesConfig,
    AuditConfig,
    DataConfig,
    DenoiseConfig,
    EvaluateConfig,
    GateConfig,
    JudgeConfig,
    ModelConfig,
    PanelConfig,
    RuntimeConfig,
    SamplingConfig,
    ScoreConfig,
    TrainConfig,
)
from pipeline.config.values import value_before
from pipeline.errors import ConfigError

RETIRED = frozenset({"sampling.codes_per_class"})
"""Settings that there once were: what was written down with one is read without it."""


@dataclass(frozen=True)
class RunConfig:
    """Everything one run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    gates: GateConfig = field(default_factory=GateConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    panel: PanelConfig = field(default_factory=PanelConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    denoise: DenoiseConfig = field(default_factory=DenoiseConfig)
    anomalies: AnomaliesConfig = field(default_factory=AnomaliesConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def flat(self) -> dict[str, Any]:
        """Every setting as {"section.key": value}; tuples become lists."""
        return {
            f"{section.name}.{key}": list(value) if isinstance(value, tuple) else value
            for section in dataclasses.fields(self)
            for key, value in dataclasses.asdict(getattr(self, section.name)).items()
        }

    def with_settings(self, settings: Mapping[str, Any]) -> "RunConfig":
        """A copy with {"section.key": value} replaced and checked."""
        config = self
        for name, value in settings.items():
            section, key = _split_name(name)
            parsed = _typed(name, value)
            part = dataclasses.replace(getattr(config, section), **{key: parsed})
            config = dataclasses.replace(config, **{section: part})
        return config

    @staticmethod
    def from_stored(settings: Mapping[str, Any]) -> "RunConfig":
        """What `flat` gave, perhaps before a setting was added: then with what was done at that time, whatever the
        default is by now; or when there was one that is retired."""
        kept = {name: value for name, value in settings.items() if name not in RETIRED}
        return RunConfig().with_settings({**BEFORE_ADDED, **kept})

    def to_toml(self) -> str:
        """The whole configuration as TOML that `--config` reads back to an equal one."""
        tables: dict[str, dict[str, Any]] = {}
        for name, value in self.flat().items():
            section, key = name.split(".")
            tables.setdefault(section, {})[key] = value
        import tomli_w  # here: reading settings does not need it, and a bare machine may not have it

        return tomli_w.dumps(tables)


SECTIONS: dict[str, type] = {f.name: typing.get_type_hints(RunConfig)[f.name] for f in dataclasses.fields(RunConfig)}

BEFORE_ADDED: dict[str, Any] = {
    f"{section}.{f.name}": value_before(f)
    for section, cls in SECTIONS.items()
    for f in dataclasses.fields(cls)
    if value_before(f) is not dataclasses.MISSING
}
"""The settings that were added later, each at what was done before."""


def setting_type(name: str) -> Any:
    """The Python type of a setting, e.g. float for "train.beta"; ConfigError if there is none of that name."""
    section, key = _split_name(name)
    return typing.get_type_hints(SECTIONS[section])[key]


def _split_name(name: str) -> tuple[str, str]:
    section, _, key = name.partition(".")
    if section not in SECTIONS or not key:
        raise ConfigError(f"unknown setting {name}; settings are section.key with section one of {', '.join(SECTIONS)}")
    keys = [f.name for f in dataclasses.fields(SECTIONS[section])]
    if key not in keys:
        raise ConfigError(f"unknown setting {name}; {section} has {', '.join(keys)}")
    return section, key


def _typed(name: str, value: Any) -> Any:
    """`value` as the type of the setting; a string is read as a number, a TOML value, or the text itself."""
    kind = setting_type(name)
    if kind is str:
        if not isinstance(value, str):
            raise ConfigError(f"{name} is {value!r}; it must be text")
        return value
    if isinstance(value, str):
        text = value.strip()
        if kind == tuple[int, ...] and not text.startswith("["):
            text = f"[{text}]"
        try:
            # .5 and 5. are numbers to everybody but TOML
            value = kind(text) if kind in (int, float) else tomllib.loads(f"value = {text}")["value"]
        except ValueError:  # a TOMLDecodeError too
            raise ConfigError(f"{name} is {value!r}; it must be {_describe(kind)}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, types.GenericAlias):
        widths = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(w, int) and not isinstance(w, bool) for w in widths):
            return tuple(widths)
    elif isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    raise ConfigError(f"{name} is {value!r}; it must be {_describe(kind)}")


def _describe(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "a list of whole numbers, e.g. 512,256")
