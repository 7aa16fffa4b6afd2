"""The search space: which settings a sweep varies, over which range. The whole of it on one screen."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from pipeline.config.settings import RunConfig, setting_type
from pipeline.errors import ConfigError

SECTIONS = ("train", "model")
"""What can be searched, and where a bare name is looked up. Data, judges and scores are the measuring stick: the same
for every trial."""


@dataclass(frozen=True)
class Dimension:
    """One numeric setting and its range, both ends included."""

    setting: str
    """section.key, e.g. train.beta."""
    low: float
    high: float
    log: bool = True

    @property
    def name(self) -> str:
        """Its name in studies, tables and plots: the key alone."""
        return self.setting.partition(".")[2]

    @property
    def integer(self) -> bool:
        return setting_type(self.setting) is int

    @property
    def distribution(self) -> optuna.distributions.BaseDistribution:
        if self.integer:
            return optuna.distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)

    def at(self, share: float) -> float | int:
        """The value at a share in [0, 1) of the range, on the scale that is searched; whole numbers have equal shares
        of it, the ends too."""
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        value = min(max(round(value) if self.integer else value, self.low), self.high)
        return int(value) if self.integer else value

    def show(self, value: float) -> str:
        """A value as people read it: whole, or three significant digits."""
        return str(int(value)) if self.integer else f"{value:.3g}"

    def describe(self) -> str:
        return f"{number(self.low)} .. {number(self.high)}{' log' if self.log else ''}"

    def entry(self) -> str:
        """It as `--space` takes it."""
        return f"{self.setting}={number(self.low)}:{number(self.high)}{'' if self.log else ':linear'}"


def number(value: float) -> str:
    """The shortest text that reads back as exactly this number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


DEFAULT_SPACE = (
    Dimension("train.beta", 0.1, 10.0),
    Dimension("model.latent_dim", 2, 64),
    Dimension("train.learning_rate", 1e-3, 1e-2),
)


def suggest(trial: optuna.trial.BaseTrial, space: tuple[Dimension, ...], base: RunConfig) -> RunConfig:
    """The base configuration with every dimension at the trial's value."""
    return base.with_settings({d.setting: _value(d, trial) for d in space})


def _value(dimension: Dimension, trial: optuna.trial.BaseTrial) -> float:
    if dimension.integer:
        return trial.suggest_int(dimension.name, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def build_space(table: Mapping[str, Any] | None = None, entries: Iterable[str] = ()) -> tuple[Dimension, ...]:
    """The default space, changed by a TOML table [space] and then by entries such as `beta=0.5:4`.

    A range is low:high, searched on a log scale; low:high:linear searches it evenly; `off` takes a dimension out,
    which leaves the setting at its configured value. In TOML: beta = [0.5, 4], or {low = 0, high = 1, log = false}.
    """
    space = {d.setting: d for d in DEFAULT_SPACE}
    requests: list[tuple[str, Any]] = list((table or {}).items())
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals:
            raise ConfigError(f"--space {entry} has no range; write e.g. --space beta=0.5:4, or beta=off")
        requests.append((name.strip(), text.strip()))
    for name, spec in requests:
        setting = numeric_setting(name, option="--space")
        if spec == "off" or spec is False:
            space.pop(setting, None)
        else:
            space[setting] = _dimension(setting, spec)
    if not space:
        raise ConfigError("the search space is empty; leave at least one dimension in it")
    return tuple(space.values())


def numeric_setting(name: str, *, option: str) -> str:
    """The full name of a numeric setting that can be varied; ConfigError, naming the option, for any other."""
    for candidate in (f"{section}.{name.removeprefix(f'{section}.')}" for section in SECTIONS):
        try:
            kind = setting_type(candidate)
        except ConfigError:
            continue
        if kind not in (int, float):
            raise ConfigError(f"{option} {name}: {candidate} is not a number, so it has no range")
        if candidate.endswith("seed"):
            raise ConfigError(f"{option} {name}: a seed is not searched; every trial has its own")
        return candidate
    numbers = sorted(
        name
        for name in RunConfig().flat()
        if name.startswith(SECTIONS) and setting_type(name) in (int, float) and not name.endswith("seed")
    )
    raise ConfigError(f"{option} {name} names no setting; numbers that can be varied: {', '.join(numbers)}")


def _dimension(setting: str, spec: Any) -> Dimension:
    how = f"space {setting} is {spec!r}; write low:high, low:high:linear or off, e.g. 0.5:4"
    log = True
    if isinstance(spec, str):
        parts = spec.split(":")
        if len(parts) == 3 and parts[2] in ("log", "linear"):
            log = parts[2] == "log"
        elif len(parts) != 2:
            raise ConfigError(how)
        bounds: list[Any] = parts[:2]
    elif isinstance(spec, Mapping) and {"low", "high"} <= set(spec) <= {"low", "high", "log"}:
        bounds, log = [spec["low"], spec["high"]], spec.get("log", True)
    elif isinstance(spec, list) and len(spec) == 2:
        bounds = spec
    else:
        raise ConfigError(how)
    if not isinstance(log, bool) or any(isinstance(b, bool) for b in bounds):
        raise ConfigError(how)
    try:
        low, high = (float(b) for b in bounds)
    except (TypeError, ValueError):
        raise ConfigError(how) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"space {setting} runs from {number(low)} to {number(high)}; the first must be below the second"
        )
    if log and low <= 0:
        raise ConfigError(f"space {setting} begins at {low:g}, which a log scale cannot; add :linear, or begin above 0")
    if setting_type(setting) is int and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"space {setting} runs from {low:g} to {high:g}; it must be whole numbers")
    for bound in (low, high):  # both ends must be allowed values: the setting's own check says if not
        RunConfig().with_settings({setting: int(bound) if setting_type(setting) is int else bound})
    return Dimension(setting, low, high, log)
