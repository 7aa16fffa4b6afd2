"""The search space: which settings a sweep varies, over which range or which values."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.sections import PRIORS
from pipeline.config.settings import RunConfig, setting_type, suggestion
from pipeline.errors import ConfigError

if TYPE_CHECKING:  # it takes a quarter of a second to load, and most commands only read what was searched
    import optuna

SECTIONS = ("train", "model", "sampling")
"""What can be searched, and where a bare name is looked up: the network, its training, and the prior that z is drawn
from, which together are the model that is scored. Data, judges and scores are the measuring stick: the same for every
trial."""
FITTED_PRIORS = frozenset(PRIORS) - {"standard"}
UNSET = "auto"
"""The value that has no text otherwise: no channels, which is as many as the image asks for."""


class Searched(Protocol):
    """One setting that a sweep varies."""

    @property
    def setting(self) -> str:
        """section.key, e.g. train.beta."""
        ...

    @property
    def name(self) -> str:
        """Its name in studies, tables and plots: the key alone."""
        ...

    @property
    def distribution(self) -> "optuna.distributions.BaseDistribution": ...

    @property
    def ends(self) -> tuple[Any, ...]:
        """Its least and largest value, or all of them where they have no order."""
        ...

    def suggest(self, trial: "optuna.trial.BaseTrial") -> Any:
        """Its value in a trial."""
        ...

    def typed(self, value: Any) -> Any:
        """A value read back from a table, as the distribution has it."""
        ...

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of the range, on the scale that is searched."""
        ...

    def show(self, value: Any) -> str:
        """A value as people read it."""
        ...

    def describe(self) -> str:
        """The range as people read it."""
        ...

    def entry(self) -> str:
        """It as `--space` takes it."""
        ...


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
    def distribution(self) -> "optuna.distributions.BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[float, ...]:
        return (self.low, self.high)

    def suggest(self, trial: "optuna.trial.BaseTrial") -> float:
        if self.integer:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def typed(self, value: Any) -> float | int:
        return int(value) if self.integer else float(value)

    def at(self, share: float) -> float | int:
        """Whole numbers have equal shares, the ends too."""
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        value = low * (high / low) ** share if self.log else low + (high - low) * share
        value = min(max(round(value) if self.integer else value, self.low), self.high)
        return int(value) if self.integer else value

    def show(self, value: float) -> str:
        """Whole, or three significant digits."""
        return str(int(value)) if self.integer else f"{value:.3g}"

    def describe(self) -> str:
        return f"{number(self.low)} .. {number(self.high)}{' log' if self.log else ''}"

    def entry(self) -> str:
        return f"{self.setting}={number(self.low)}:{number(self.high)}{'' if self.log else ':linear'}"


@dataclass(frozen=True)
class Categories:
    """One setting, of any kind, and the values it may have, as text: 400, or 600,400."""

    setting: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.setting.partition(".")[2]

    @property
    def distribution(self) -> "optuna.distributions.BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    @property
    def ends(self) -> tuple[str, ...]:
        return self.values

    def suggest(self, trial: "optuna.trial.BaseTrial") -> str:
        return str(trial.suggest_categorical(self.name, self.values))

    def typed(self, value: Any) -> str:
        return str(value)

    def at(self, share: float) -> str:
        return self.values[int(share * len(self.values))]

    def show(self, value: str) -> str:
        return value

    def describe(self) -> str:
        return " | ".join(self.values)

    def entry(self) -> str:
        return f"{self.setting}={'|'.join(self.values)}"


def number(value: float) -> str:
    """The shortest text that reads back as exactly this number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


DEFAULT_SPACE = (
    Dimension("train.beta", 0.1, 10.0),
    Dimension("model.latent_dim", 2, 64),
    Dimension("train.learning_rate", 1e-3, 1e-2),
)


def suggest(trial: "optuna.trial.BaseTrial", space: tuple[Searched, ...], base: RunConfig) -> RunConfig:
    """The base configuration with every dimension at the trial's value."""
    return base.with_settings({d.setting: _as_setting(d.suggest(trial)) for d in space})


def valued(params: Mapping[str, Any], space: tuple[Searched, ...], base: RunConfig) -> RunConfig:
    """The base configuration with every dimension at the value that these params, by name, give it."""
    return base.with_settings({d.setting: _as_setting(d.typed(params[d.name])) for d in space})


def _as_setting(value: Any) -> Any:
    return "" if value == UNSET else value


def build_space(table: Mapping[str, Any] | None = None, entries: Iterable[str] = ()) -> tuple[Searched, ...]:
    """The default space, changed by a TOML table [space] and then by entries such as `beta=0.5:4`.

    A range is low:high, searched on a log scale; low:high:linear searches it evenly; values with | between are tried as
    they are, and need not be numbers: hidden=400|600,400; `off` takes a dimension out, which leaves the setting at its
    configured value. In TOML: beta = [0.5, 4], {low = 0, high = 1, log = false} or {values = ["400", "600,400"]}.
    """
    space: dict[str, Searched] = {d.setting: d for d in DEFAULT_SPACE}
    requests: list[tuple[str, Any]] = list((table or {}).items())
    for entry in entries:
        name, equals, text = entry.partition("=")
        if not equals:
            raise ConfigError(f"--space {entry} has no range; write e.g. --space beta=0.5:4, or beta=off")
        requests.append((name.strip(), text.strip()))
    for name, spec in requests:
        if spec == "off" or spec is False:
            space.pop(_setting(name, option="--space"), None)
        elif (values := _listed(spec)) is not None:
            categories = _categories(_setting(name, option="--space"), values)
            space[categories.setting] = categories
        else:
            dimension = _dimension(numeric_setting(name, option="--space"), spec)
            space[dimension.setting] = dimension
    if not space:
        raise ConfigError("the search space is empty; leave at least one dimension in it")
    return tuple(space.values())


def numeric_setting(name: str, *, option: str) -> str:
    """The full name of a numeric setting that can be varied; ConfigError, naming the option, for any other."""
    setting = _setting(name, option=option)
    if setting_type(setting) not in (int, float):
        raise ConfigError(f"{option} {name}: {setting} is not a number, so it has no range; {_numbers()}")
    return setting


def _setting(name: str, *, option: str) -> str:
    """The full name of a setting that can be varied."""
    for candidate in (f"{section}.{name.removeprefix(f'{section}.')}" for section in SECTIONS):
        try:
            setting_type(candidate)
        except ConfigError:
            continue
        if candidate.endswith("seed"):
            raise ConfigError(f"{option} {name}: a seed is not searched; every trial has its own")
        return candidate
    near = suggestion(name)
    meant = f"; did you mean {near}?" if near.startswith(SECTIONS) else ""
    words = f"; by values, one|another: {', '.join(_varied(numbers=False))}" if option == "--space" else ""
    raise ConfigError(f"{option} {name} names no setting; {_numbers()}{words}{meant}")


def _varied(*, numbers: bool) -> list[str]:
    """The settings of those sections that are numbers, or that are not."""
    names = (name for name in RunConfig().flat() if name.startswith(SECTIONS) and not name.endswith("seed"))
    return sorted(name for name in names if (setting_type(name) in (int, float)) is numbers)


def _numbers() -> str:
    """The settings that have a range, in words."""
    return f"numbers that can be varied: {', '.join(_varied(numbers=True))}"


def _listed(spec: Any) -> list[str] | None:
    """The values of a specification that lists values; None for one of a range."""
    if isinstance(spec, str) and "|" in spec:
        return [text.strip() for text in spec.split("|")]
    if isinstance(spec, Mapping) and set(spec) == {"values"} and isinstance(spec["values"], list):
        return [str(value).lower() if isinstance(value, bool) else str(value).strip("[]") for value in spec["values"]]
    return None


def _categories(setting: str, texts: list[str]) -> Categories:
    if setting == "sampling.prior" and not set(texts) <= FITTED_PRIORS:
        raise ConfigError(
            f"space prior is {'|'.join(texts)}; gaussian and mixture can be searched, which are fitted to the codes of "
            "a trained model: every trial has its scores under N(0, I), standard, too. The prior that a model is "
            "trained with is learned_prior=false|true"
        )
    values = []
    for text in texts:  # the setting's own check says what is wrong
        config = RunConfig().with_settings({setting: _as_setting(text)})
        values.append(_as_text(config.flat()[setting]) or UNSET)
    if len(set(values)) < max(2, len(values)):
        raise ConfigError(f"space {setting} is {'|'.join(texts)!r}; it must be two different values or more, e.g. 1|2")
    return Categories(setting, tuple(values))


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, float) else str(value)


def stored_dimension(held: Mapping[str, Any]) -> Searched:
    """A dimension from its fields, as the ledger holds them."""
    if "values" in held:
        return Categories(held["setting"], tuple(held["values"]))
    return Dimension(**held)


def _dimension(setting: str, spec: Any) -> Dimension:
    how = f"space {setting} is {spec!r}; write low:high, low:high:linear, one|another or off, e.g. 0.5:4"
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
