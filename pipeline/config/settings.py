"""RunConfig: every section together, and settings by name: "section.key" read, typed, replaced, written as TOML."""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pipeline.config.sections import (
    OWN_IMAGES,
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


NUMBERS_TOO = frozenset({"data.size", "data.channels"})
"""Settings of text that a file may have as numbers: size = 32."""


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

    @property
    def anywhere(self) -> "RunConfig":
        """The same, wherever images of one's own lie: see `DataConfig.anywhere`."""
        return dataclasses.replace(self, data=self.data.anywhere)

    def with_settings(self, settings: Mapping[str, Any]) -> "RunConfig":
        """A copy with {"section.key": value} replaced and checked, those of a section together."""
        changes: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            section, key = _split_name(name)
            changes.setdefault(section, {})[key] = _typed(name, value)
        parts = {section: dataclasses.replace(getattr(self, section), **own) for section, own in changes.items()}
        return dataclasses.replace(self, **parts)

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


FIRST_KEYED = frozenset({"train.schedule"})
"""Added before the first key was made of plain settings, and so always in such keys."""


def keyed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings as a key is made of them: images of one's own wherever they lie; without those that were added
    later and are what was done before, which `digest` leaves out of sections too."""
    if settings.get("data.content"):
        settings = {**settings, "data.dataset": OWN_IMAGES}
    return {
        name: value
        for name, value in settings.items()
        if name in FIRST_KEYED or name not in BEFORE_ADDED or _plain(value) != _plain(BEFORE_ADDED[name])
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def setting_type(name: str) -> Any:
    """The Python type of a setting, e.g. float for "train.beta"; ConfigError if there is none of that name."""
    section, key = _split_name(name)
    return _types(section)[key]


@cache
def _types(section: str) -> dict[str, Any]:
    """The types of a section's settings, resolved once: a home of a hundred runs reads ten thousand settings."""
    return typing.get_type_hints(SECTIONS[section])


def _split_name(name: str) -> tuple[str, str]:
    section, _, key = name.partition(".")
    if section not in SECTIONS or not key:
        sections = ", ".join(SECTIONS)
        said = f"settings are section.key with section one of {sections}"
    elif key not in _types(section):
        said = f"{section} has {', '.join(_types(section))}"
    else:
        return section, key
    near = suggestion(name)  # here: it takes longer than to read a hundred settings
    raise ConfigError(f"unknown setting {name or repr(name)}; {said}{f'; did you mean {near}?' if near else ''}")


ALSO_CALLED = {"lr": "train.learning_rate", "model": "model.kind", "limit": "data.train_limit"}
"""What people call settings besides their names."""


def suggestion(name: str) -> str:
    """The setting that somebody may have meant by a name that is none; "" where nothing is near."""
    names = [f"{section}.{f.name}" for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)]
    key = name.rpartition(".")[2].replace("-", "_")
    if key in ALSO_CALLED:
        return ALSO_CALLED[key]
    if same := [full for full in names if full.partition(".")[2] == key]:
        return same[0]
    near = difflib.get_close_matches(name, names, 1) or difflib.get_close_matches(
        key, [full.partition(".")[2] for full in names], 1, 0.75
    )
    return next((full for full in names if near and near[0] in (full, full.partition(".")[2])), "")


def _typed(name: str, value: Any) -> Any:
    """`value` as the type of the setting; a string is read as a number, a TOML value, or the text itself."""
    kind = setting_type(name)
    if kind is str:
        if name in NUMBERS_TOO and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
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
            raise ConfigError(f"{name} is {value!r}; it must be {describe(kind)}") from None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, types.GenericAlias):
        widths = value if isinstance(value, (list, tuple)) else [value]
        if all(isinstance(w, int) and not isinstance(w, bool) for w in widths):
            return tuple(widths)
    elif isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    raise ConfigError(f"{name} is {value!r}; it must be {describe(kind)}")


def describe(kind: Any) -> str:
    """What a value of that type is, in words."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, "a list of whole numbers, e.g. 512,256")
